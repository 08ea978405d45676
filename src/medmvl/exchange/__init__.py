"""Checkpoints of other projects in, and ours out to what others can load."""
