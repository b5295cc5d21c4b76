"""The page of a grid over games: an agent beside its baselines, aggregated over games."""
