"""Micro-benchmarks of the search and figures of finished runs; see ``README.md``.

Runs from the checkout as ``python -m benchmarks``; no role and no test of behaviour imports it.
"""
