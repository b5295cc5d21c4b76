"""What crosses process borders by gRPC: weights, pace and results (contracts in ``protos/``)."""
