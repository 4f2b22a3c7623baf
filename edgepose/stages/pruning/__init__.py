"""How channel groups are found, how many channels each keeps for a budget, and their removal."""
