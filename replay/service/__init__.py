"""The replay service: a Reverb server on one address, and what it reports."""
