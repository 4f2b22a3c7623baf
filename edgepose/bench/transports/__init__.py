"""Ways to a board, one per file; the file name is the word before the colon."""
