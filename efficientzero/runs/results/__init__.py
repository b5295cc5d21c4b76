"""What a run leaves for programs: counts, games, costs, and ``summary.json``."""
