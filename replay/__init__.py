"""The replay service and its clients: the only package that imports Reverb."""
