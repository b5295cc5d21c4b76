"""What the search costs: network, trees, memory, threads."""
