"""Scores, in plain numpy."""
