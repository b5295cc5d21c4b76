"""The replay service of a run: ``python -m replay --config runs/<id>/config.json``."""

from __future__ import annotations

import sys

from efficientzero.role_arguments import parse_role_arguments
from efficientzero.runtime import StopSignal, leave, run_role
from replay.server import PortTakenError, serve


def main() -> None:
    """Serve until a stop is asked for."""
    arguments = parse_role_arguments("replay", __doc__)

    def role(stop: StopSignal) -> None:
        try:
            serve(arguments.run.config.replay, arguments.run.replay_address, stop)
        except PortTakenError as error:
            sys.exit(f"replay-{arguments.index}: {error}")

    leave(run_role("replay", arguments.index, role))


if __name__ == "__main__":
    main()
