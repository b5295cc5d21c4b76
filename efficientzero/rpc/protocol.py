"""Which processes are compatible: the protocol's number and the libraries' versions.

Used by both ends of ``Join``.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata

PROTOCOL = 9
"""Number of the messages in ``protos/``, the records in replay and the way there; grows with every
change to them."""

_MUST_BE_EQUAL = {
    "efficientzero": "efficientzero-distributed",
    "reverb": "dm-reverb",
    "torch": "torch",
    "numpy": "numpy",
}
"""Libraries of which another version could read a record, weights or a seed differently."""


def installed_versions() -> dict[str, str]:
    """Return this process's versions of the libraries that must be equal."""
    return {name: metadata.version(package) for name, package in _MUST_BE_EQUAL.items()}


def different_versions(wanted: Mapping[str, str], got: Mapping[str, str]) -> str:
    """Return got and wanted of the first library that differs, or an empty string.

    A build's local part (``+cpu``, ``+cu126``) may differ: perhaps only the learner has a GPU.
    """
    for name in _MUST_BE_EQUAL:
        pair = [versions.get(name, "none").partition("+")[0] for versions in (got, wanted)]
        if name in wanted and pair[0] != pair[1]:
            return f"{name}: got version {pair[0]}, wanted {pair[1]}"
    return ""
