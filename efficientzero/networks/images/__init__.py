"""The parts of a network that only images need."""
