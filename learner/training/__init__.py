"""One train_step: network, loss, optimiser, ranks."""
