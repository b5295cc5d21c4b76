"""Hurt real runs and show what became of them: ``python -m tests.chaos``.

Some runs of Catch that are left alone, then one for each fault, hurt ``--times`` times at moments
drawn from ``--seed``. Each must reach its budget with exit code 0, lose no more env_steps than its
faults explain, train as often per env_step as configured, and end with the return of those left
alone, but for noise. Prints a table; exits with 1 if one did not.

``python -m tests.chaos --kill-and-resume 3 --preset cartpole --seed 0 --runs-dir DIR`` kills one
run as a whole three times, resumes it, and compares it with one that was left alone. Other options
go to launch.py.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import sys
import tempfile
from pathlib import Path

from tests.chaos.cases import Result, run_case
from tests.chaos.faults import FAULTS
from tests.chaos.kill_and_resume import as_json, kill_and_resume, lines
from tests.chaos.sizes import LEARNING, SMALL

_HEAD = (
    *("fault", "injected", "recovered in s", "env_steps lost", "at most", "ratio"),
    *("return", "outcome"),
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of the moments and the runs")
    parser.add_argument("--times", type=int, default=2, help="injections per run, 1 to 5")
    parser.add_argument("--pause-seconds", type=float, default=60.0, help="length of a pause")
    parser.add_argument("--only", nargs="+", choices=FAULTS, metavar="FAULT", default=list(FAULTS))
    parser.add_argument(
        "--left-alone", type=int, default=5, help="runs left alone; 0: compare no returns"
    )
    parser.add_argument("--small", action="store_true", help="runs too small to learn")
    parser.add_argument("--json", action="store_true", help="print records instead of a table")
    parser.add_argument("--keep", type=Path, help="leave the runs in this new folder")
    parser.add_argument("--kill-and-resume", type=int, metavar="N", help="instead of the faults")
    parser.add_argument("--preset", default="cartpole", help="of the run killed and resumed")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"), help="for that run")
    parser.add_argument(
        "--undisturbed",
        type=Path,
        nargs="+",
        metavar="RUN",
        default=[],
        help="complete runs to compare it with; without, one is made",
    )
    arguments, launch_options = parser.parse_known_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # leave no run behind
    if arguments.kill_and_resume is not None:
        return killed_and_resumed(arguments, launch_options)
    if launch_options:
        parser.error(f"unknown options: {' '.join(launch_options)}")
    if not 1 <= arguments.times <= 5:
        parser.error(f"--times: got {arguments.times}, wanted 1 to 5 (a run restarts five times)")
    results = hurt(arguments)
    if arguments.json:
        print(json.dumps([dataclasses.asdict(result) for result in results], indent=2))
    else:
        print(table(results))
    return int(any(result.outcome.startswith("failed") for result in results))


def hurt(arguments: argparse.Namespace) -> list[Result]:
    """Make the runs that are left alone, then those with faults."""
    size = SMALL if arguments.small else LEARNING
    alone: list[Result] = []
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="chaos-") as temporary:
        folder = arguments.keep or Path(temporary) / "cases"
        folder.mkdir(parents=True)

        def run(name: str, fault: str | None, seed: int) -> Result:
            result = run_case(
                name,
                [FAULTS[fault]] * arguments.times if fault else [],
                folder / name.replace(" ", "-").replace(",", ""),
                size=size,
                seed=seed,
                pause_s=arguments.pause_seconds,
                undisturbed=alone if fault else (),
            )
            print(json.dumps(dataclasses.asdict(result)), file=sys.stderr, flush=True)
            return result

        for number in range(arguments.left_alone):
            result = run(f"none {number}", None, arguments.seed + number)
            results.append(result)
            alone += [result] if result.outcome == "ok" else []
        for name in arguments.only:
            results.append(run(name, name, arguments.seed))
    return results


def killed_and_resumed(arguments: argparse.Namespace, launch_options: list[str]) -> int:
    """Kill and resume one run, print what became of it, and return the exit code."""
    preset, seed = arguments.preset, str(arguments.seed)
    try:
        report = kill_and_resume(
            ("--preset", preset, "--seed", seed, *launch_options),
            num_kills=arguments.kill_and_resume,
            runs_dir=arguments.runs_dir.resolve(),
            name=f"{preset}-s{seed}",
            undisturbed=[folder.resolve() for folder in arguments.undisturbed],
        )
    except (AssertionError, OSError, ValueError) as error:
        print(f"tests.chaos: error: {error}", file=sys.stderr)
        return 1
    print(as_json(report) if arguments.json else lines(report))
    return int(bool(report.failures))


def table(results: list[Result]) -> str:
    """Return the results as a table in Markdown."""
    rows = [_HEAD, tuple("---" for _ in _HEAD)]
    for r in results:
        times = ", ".join(f"{seconds:.1f}" for seconds in r.recovered_s)
        lost, ratio = (
            "-" if value is None else str(value) for value in (r.env_steps_lost, r.replay_ratio)
        )
        mean = "-" if r.return_mean is None else f"{r.return_mean:.2f}"
        noise = "" if r.return_noise is None else f" (noise {r.return_noise:.2f})"
        outcome = r.outcome.splitlines()[0]
        rows.append(
            (r.fault, str(r.injected), times, lost, str(r.most_lost), ratio, mean + noise, outcome)
        )
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


if __name__ == "__main__":
    sys.exit(main())
