"""Steps of an episode as strings of bytes: what replay stores, packed in C++."""
