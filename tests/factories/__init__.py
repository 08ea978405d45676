"""Synthetic files and tiny random models that tests build."""
