"""Training: a recipe becomes a model, stage by stage."""
