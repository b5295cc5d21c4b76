"""Asks a learner for its status once a second: ``watch_status.py HOST:PORT``, a line of JSON each.

Stands for ``launch.py status --json``, whose start takes seconds of CPU each time.
"""

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import grpc

from deploy.supervising.status import as_values, fetch


def main() -> None:
    while True:
        try:
            print(json.dumps(as_values(*fetch(sys.argv[1]))), flush=True)
        except grpc.RpcError as error:
            print(f"no answer: {error.code()}", flush=True)
        time.sleep(1.0)


if __name__ == "__main__":
    main()
