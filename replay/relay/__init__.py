"""Replay for other hosts: TLS and a token in front of Reverb's port."""

from replay.relay.client import RelayClient, reached_through_relays
from replay.relay.server import relayed

__all__ = ["RelayClient", "reached_through_relays", "relayed"]
