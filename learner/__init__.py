"""The learner: trains the network, publishes weights, keeps the pace of the run."""
