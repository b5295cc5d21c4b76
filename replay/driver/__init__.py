"""The only modules that touch Reverb: its client and server, and patches of both."""
