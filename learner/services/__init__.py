"""The learner's gRPC port: weights, pace and membership."""
