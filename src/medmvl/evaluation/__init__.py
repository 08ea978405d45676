"""Evaluation: answers judged next to their controls, with intervals over patients."""
