"""Converters of other layouts to JSON Lines of `Sample`: one layout a file, one line in `CONVERTERS`."""
