"""Faults of the wall clock: set forwards and back, everywhere or differently in each process."""

from __future__ import annotations

from itertools import pairwise

from deploy.results.wandb_history import find_runs
from replay.snapshots.folder import reverbs_name
from tests.chaos.site import Site

HOUR_S = 3600.0
_JUMPED_S = 3000.0
_ROLES = ("replay", "learner", "reanalyzer", "actor")
_ON = 20
"""Train_steps made on each clock."""
_RESTORED = "restored snapshot "


def jump(site: Site) -> None:
    """Set the wall clocks of all processes an hour forwards, and then two hours back."""
    assert site.clocks is not None
    site.clocks.jump(HOUR_S)
    _go_on(site)
    site.clocks.jump(-2 * HOUR_S)


def drift_apart(site: Site) -> None:
    """Set each role's wall clock up to two hours forwards or back, each differently."""
    assert site.clocks is not None
    for role in (*_ROLES, "evaluator", "launcher"):
        seconds = site.chance.choice((-1, 1)) * site.chance.uniform(HOUR_S, 2 * HOUR_S)
        site.clocks.jump(seconds, role)


def set_back_and_kill_replay(site: Site) -> None:
    """Set all wall clocks an hour back, kill replay after two snapshots that seem older.

    Then the clocks are set right: Reverb's clients wait for dates before they connect again, so
    that some do not come back to a replay that dies in the hour that is there twice.
    """
    assert site.clocks is not None
    site.wait("a snapshot", lambda: bool(site.snapshots))
    before = newest = site.snapshots[-1]
    site.clocks.jump(-HOUR_S)
    for _ in range(2):
        site.wait("a newer snapshot", lambda last=newest: site.snapshots[-1] != last)
        newest = site.snapshots[-1]
    assert reverbs_name(newest) < reverbs_name(before), f"{newest} is not named by the clock"
    restored = site.run.output.count(_RESTORED)
    site.run.kill("replay-0")
    site.wait("replay again", lambda: site.run.output.count(_RESTORED) > restored)
    told = site.run.output.rpartition(_RESTORED)[2].split()[0]
    since = [reverbs_name(path) for path in site.snapshots if path.name >= newest.name]
    assert told in since, f"restored {told}, wanted one of {since}"
    site.clocks.set_right()


def check_clocks(site: Site) -> None:
    """Check that the clocks were set, and that wandb's rows are in order nevertheless.

    Raises:
        AssertionError: not so.
    """
    tracked = find_runs(site.run.directory / "wandb")
    for role in _ROLES:
        files = [run for run in tracked if run.job_type == role]
        jumps = [
            abs(after - before)
            for run in files
            for before, after in pairwise(run.series("_timestamp"))
        ]
        assert max(jumps, default=0.0) > _JUMPED_S, f"{role} saw no jump"
        for run in files:
            for axis in ("_step", f"{role}/wall_s"):
                values = run.series(axis)
                assert values == sorted(values), f"{run.path}: {axis} goes back"


def _go_on(site: Site) -> None:
    begun = site.run.wait_for_status("an answer", lambda _: True).train_steps
    site.run.wait_for_status("train_steps", lambda known: known.train_steps >= begun + _ON)
