"""Data: files to samples, samples to processed tensors in a deterministic order; checks and converters."""
