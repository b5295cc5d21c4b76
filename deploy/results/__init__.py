"""What is said of runs that ended."""
