"""Planners: what decides at a root. Above all batched Monte-Carlo tree search, its trees in C++."""

from efficientzero.search.batched_search import BatchedSearch
from efficientzero.search.plain_planners import PriorPlanner, UniformPlanner
from efficientzero.search.planner import Planner, make_planner

__all__ = ["BatchedSearch", "Planner", "PriorPlanner", "UniformPlanner", "make_planner"]
