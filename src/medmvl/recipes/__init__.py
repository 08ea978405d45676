"""Recipes that ship with the package: YAML files, listed by `medmvl recipe list`."""
