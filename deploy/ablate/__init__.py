"""Grids of runs: components, environments, values and seeds, expanded, checked, run, compared."""
