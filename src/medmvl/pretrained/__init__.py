"""Pretrained parts by name: where they come from, what they are checked by, and the folders that recipes name."""
