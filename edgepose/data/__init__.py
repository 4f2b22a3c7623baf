"""Data sets of people with joints: one file per source, named in a recipe as `data.source`."""
