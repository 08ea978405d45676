"""Experiments: one base recipe, named variants that each change one thing, seeds; runs, a table and conclusions."""
