"""Steps of episodes into replay, slices of episodes out of it."""
