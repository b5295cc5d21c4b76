"""The network as a search calls it: many nodes at once, on the device that there is."""
