"""Serving: an OpenAI-compatible server with volumes; it decodes nothing itself, `medmvl.engine` does."""
