"""A run's record as JSON, terminal table, markdown and pictures."""
