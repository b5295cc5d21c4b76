"""From a command line to a run that can start."""
