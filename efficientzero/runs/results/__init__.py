"""A run's results for programs: counts, games, costs, and ``summary.json``."""
