"""Replay for other hosts: TLS and a token before Reverb's port."""
