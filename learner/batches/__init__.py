"""Training batches on their way from replay to the device."""
