"""gRPC between processes: weights, pace and results (contracts in ``protos/``)."""
