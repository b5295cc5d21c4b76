"""Games of two players against fixed opponents or other weights, and their scores."""
