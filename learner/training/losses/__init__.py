"""The training loss and its parts."""
