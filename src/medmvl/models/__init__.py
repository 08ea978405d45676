"""The model: image encoder (2D) and volume encoder (3D) -> connector -> LLM, and the processor that feeds it."""
