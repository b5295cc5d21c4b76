"""The run folder: what is in it, what it is called, who may write into it."""
