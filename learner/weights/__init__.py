"""Which weights are published, and when."""
