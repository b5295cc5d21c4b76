"""The replay service: a Reverb server on one address, and its metrics."""

from replay.service.address import PublicAddress, check_private, reached_at, with_port
from replay.service.metrics import ServiceMetrics
from replay.service.server import PortTakenError, serve

__all__ = [
    "PortTakenError",
    "PublicAddress",
    "ServiceMetrics",
    "check_private",
    "reached_at",
    "serve",
    "with_port",
]
