"""Memory of every process over a run of tiny episodes: after warm-up it must not grow.

In CI about a minute of processor time. Longer, to find slower leaks:

    SOAK_ENV_STEPS=200000 python -m pytest tests/integration/runs/test_soak.py -s

Growth is measured against env_steps, not against time, so a slow machine measures the same.
"""

import os
import signal
import statistics
import time
from pathlib import Path

import pytest

from deploy.supervising.monitor import learner_status
from efficientzero.rpc.credentials import LOCAL_FOLDER
from tests.integration.local_runs import PATIENCE_S, TINY, LocalRun

pytestmark = [pytest.mark.slow, pytest.mark.reverb]

ROLES = ("replay-0", "learner-0", "reanalyzer-0", "actor-0")
CAPACITY = 300
WARMUP = 2_000
"""Env_steps after which replay is full and every process has allocated what it uses."""
WINDOW = int(os.environ.get("SOAK_ENV_STEPS", "2000"))
"""Env_steps over which growth is measured."""
SLACK_BYTES, MOST_PER_ENV_STEP = 4_000_000, 200
"""Allocators still take a megabyte or three in the first ten thousand env_steps. So CI sees what
keeps 3,400 bytes an env_step (68 KB a train_step: there are 20 env_steps for each); a window of
200,000 sees 230, a fifth of an item of replay."""
SETTINGS = (
    *("--budget.env-steps", "1000000", "--budget.warmup-env-steps", "100"),
    *("--budget.train-steps", "50000", "--budget.last-train-steps", "0"),
    *("--search.num-simulations", "2", "--replay.capacity", str(CAPACITY)),
    *("--learner.checkpoint-interval", "50", "--cluster.no-evaluator"),
)


def resident_bytes(pid):
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def follow(run):
    """Return (env_steps, resident bytes of each role) of every instant seen after warm-up."""
    run.wait_for_status("a full replay", lambda status: status.env_steps > WARMUP)
    by_name = {name: pid for pid, name in run.pids().items() if name in ROLES}
    assert sorted(by_name) == sorted(ROLES)
    seen, deadline = [], time.monotonic() + max(PATIENCE_S, WINDOW)
    with learner_status(run.config["learner_address"], run.directory / LOCAL_FOLDER) as fetch:
        while not seen or seen[-1][0] < WARMUP + WINDOW:
            assert time.monotonic() < deadline, f"only {seen[-1][0]} env_steps:\n{run.output}"
            assert run.process.poll() is None, run.output
            seen.append((fetch().env_steps, {n: resident_bytes(p) for n, p in by_name.items()}))
            time.sleep(0.25)
    return seen


def growth(points):
    """Return bytes by which the last third lies above the first, and the env_steps between."""
    third = max(1, len(points) // 3)
    first, last = points[:third], points[-third:]
    (steps, size), (more_steps, larger) = (
        tuple(statistics.median(column) for column in zip(*part, strict=True))
        for part in (first, last)
    )
    return larger - size, more_steps - steps


def test_growth_of_a_leak_is_its_rate_whatever_the_speed():
    slow = [(x, 1_000_000 + 70 * x) for x in range(0, 900, 10)]
    gained, over = growth(slow)
    assert gained / over == pytest.approx(70)
    assert growth(slow[::3])[0] / growth(slow[::3])[1] == pytest.approx(70)


def test_memory_of_every_process_is_flat_after_warm_up(tmp_path):
    with LocalRun(tmp_path / "runs", *TINY, *SETTINGS) as run:
        seen = follow(run)
        run.process.send_signal(signal.SIGINT)
        assert run.wait() == 130, run.output
    lengths = [line["length"] for line in run.lines("episodes.jsonl")]
    assert max(lengths) < 12
    assert len(lengths) > WINDOW / 12
    found = {
        name: growth([(env_steps, sizes[name]) for env_steps, sizes in seen]) for name in ROLES
    }
    print(
        *(
            f"{name}: {gained:+,} bytes in {over:,} env_steps"
            for name, (gained, over) in found.items()
        ),
        sep="\n",
    )
    grown = {
        name: pair
        for name, pair in found.items()
        if pair[0] > SLACK_BYTES + MOST_PER_ENV_STEP * pair[1]
    }
    assert not grown, found
