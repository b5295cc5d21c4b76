"""The run folder: its contents, its names, and the right to write into it."""
