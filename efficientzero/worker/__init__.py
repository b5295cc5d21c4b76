"""A worker's process: its command line, its place in a run, its tracker."""
