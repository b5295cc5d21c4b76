"""How steps and training batches are packed, and what may be in them."""
