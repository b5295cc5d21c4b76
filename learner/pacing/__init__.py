"""The pace of a run: who may collect or train how much."""
