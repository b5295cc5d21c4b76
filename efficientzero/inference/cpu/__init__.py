"""The network made quick for inference on a CPU. Only ``inference`` uses it."""
