"""What can be known to go wrong before a process starts."""
