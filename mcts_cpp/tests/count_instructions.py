"""Count the instructions of one root and simulation with callgrind, and hold them to a limit.

    python count_instructions.py BUILD/tree_cost

Run by ctest where valgrind is at hand. Counts hardly depend on the machine's load, so this is the
regression test of the tree's speed. Valgrind knows no AVX-512: build with MCTS_NATIVE=OFF and
CMAKE_CXX_FLAGS=-march=x86-64-v3.
"""

import json
import re
import subprocess
import sys
from typing import NamedTuple


class Row(NamedTuple):
    """One measured size and its limit."""

    algorithm: str
    num_simulations: int
    num_actions: int
    must: int  # instructions per root and simulation
    max_reused_nodes: int = 0


# g++ 12 makes 1072, 1306, 1190, 1621, 1715, 1559 and 2053; the rest is for other compilers.
ROWS = (
    Row("puct", 50, 6, 1500),
    Row("puct", 50, 18, 2000),
    Row("gumbel", 16, 6, 1600),
    Row("gumbel", 50, 6, 2200),
    Row("gumbel", 50, 18, 2400),
    Row("puct", 50, 18, 2300, 50),
    Row("gumbel", 50, 18, 3000, 50),
)
NUM_TREES = 32


def instructions(binary: str, row: Row, num_searches: int) -> int:
    """Return the instructions of a whole run."""
    numbers = (row.num_simulations, row.num_actions, NUM_TREES, num_searches, row.max_reused_nodes)
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", binary]
    done = subprocess.run(
        [*command, row.algorithm, *map(str, numbers)],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    found = re.search(r"Collected : (\d+)", done.stderr)
    if found is None:
        raise ValueError(f"callgrind: got {done.stderr!r}, wanted a line 'Collected : N'")
    return int(found[1])


def main(binary: str) -> int:
    """Print one JSON object per row; return 1 if a limit does not hold."""
    all_hold = True
    for row in ROWS:
        one, three = (instructions(binary, row, n) for n in (1, 3))
        value = (three - one) / 2 / NUM_TREES / row.num_simulations
        holds = value <= row.must
        all_hold &= holds
        name = f"{row.algorithm} M={row.num_simulations} A={row.num_actions}"
        if row.max_reused_nodes:
            name += f" reusing {row.max_reused_nodes}"
        result = {"name": name, "value": round(value), "unit": "instructions", "must": row.must}
        print(json.dumps(result | {"holds": holds}), flush=True)
    return 0 if all_hold else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
