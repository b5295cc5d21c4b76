"""Training targets from replayed slices."""
