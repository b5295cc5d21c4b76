"""Batched Monte-Carlo tree search: the trees in C++, the network on the device."""
