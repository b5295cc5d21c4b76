"""Self-play and evaluation."""
