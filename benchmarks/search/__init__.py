"""The cost of the search: network, trees, memory, threads."""
