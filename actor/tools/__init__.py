"""Commands on saved runs: evaluate a checkpoint, draw a search."""
