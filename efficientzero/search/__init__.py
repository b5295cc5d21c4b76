"""Batched Monte-Carlo tree search: the trees in C++, the network on the device."""

from efficientzero.search.batched_search import BatchedSearch, uniform_search_result

__all__ = ["BatchedSearch", "uniform_search_result"]
