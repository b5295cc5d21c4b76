"""Pages made from finished runs: metrics at their ends, CPU-seconds, simulations."""
