"""Why a run goes no faster, in one sentence with advice.

A pure function of the roster's members and the learner's pulse. Called once a second by ``watch``,
and for the status.
"""

from __future__ import annotations

from collections.abc import Sequence

from efficientzero.metrics import Vitals
from learner.cluster.roster import LATE_S, Member

_FULL = 0.9
"""From this busy share on a worker counts as fully busy."""
_STARVED = 0.9
"""Below this busy share the learner counts as waiting."""

_AWAITED = {"warmup": "actor", "pace": "actor", "batch": "reanalyzer"}
"""The role that can end each of the learner's waits."""
_MODULES = {"actor": "actor", "reanalyzer": "reanalyzer", "evaluator": "actor.evaluator"}
_WHAT = {"warmup": "the warm-up's env_steps", "pace": "env_steps", "batch": "batches"}


def cause_of(
    learner: Vitals,
    members: Sequence[tuple[Member, float]],
    *,
    replay_silent_s: float,
    in_warmup: bool,
    awaits_evaluation: bool,
    host: str,
    cores: int,
    are_launched: bool = False,
    credentials: str = "DIR",
) -> str:
    """Return the learner's wait, its cause and a remedy; empty if nothing stalls.

    Args:
        learner: the learner's vitals.
        members: workers and the seconds since each one's last sign of life.
        replay_silent_s: seconds since replay last answered.
        in_warmup: the warm-up is not complete.
        awaits_evaluation: only the final evaluation is left.
        host: of the learner.
        cores: number of cores that its processes may use there.
        are_launched: a launcher starts all workers, and restarts them.
        credentials: the folder for a worker that is started by hand.
    """
    join = "" if are_launched else f"--join <this learner> --credentials {credentials}"
    if awaits_evaluation:
        return "learner waits for the final evaluation" + _why("evaluator", members, join)
    if learner.busy >= _STARVED or learner.waiting_for not in _AWAITED:
        return ""
    if learner.waiting_for == "warmup" and not in_warmup:
        return ""  # its last seconds were still in the warm-up, which is over
    waits = f"learner waits for {_WHAT[learner.waiting_for]}"
    if replay_silent_s > LATE_S:
        return f"{waits}: replay has not answered for {replay_silent_s:.0f} s"
    role = _AWAITED[learner.waiting_for]
    return waits + _why(role, members, join, where=_room(learner, members, host, cores))


def _room(
    learner: Vitals, members: Sequence[tuple[Member, float]], host: str, cores: int
) -> tuple[str, str]:
    """Return the texts before and after the advice to add processes: each needs a core."""
    here = [member.vitals.busy for member, _ in members if member.seat.host == host]
    if not here or cores - learner.busy - sum(here) >= 1.0:
        return "", ""
    return f"{host} has no core to spare ({cores}): ", " on another machine"


def _why(
    role: str,
    members: Sequence[tuple[Member, float]],
    join: str,
    *,
    where: tuple[str, str] = ("", ""),
) -> str:
    """Return why ``role`` delivers no more.

    Args:
        role: the role that is waited for.
        members: all workers.
        join: options of a worker that is started by hand; empty: a launcher starts them.
        where: texts around the advice to add some.
    """
    those = [(member, age) for member, age in members if member.seat.role == role]
    if not those:
        by_hand = f"start one: python -m {_MODULES[role]} {join}"
        return f": no {role} is there, {by_hand if join else 'the launcher starts it'}"
    heard = [member for member, age in those if age <= LATE_S]
    if not heard:
        silent_s = min(age for _, age in those)
        return f": {_count(len(those), role)} silent for {silent_s:.0f} s"
    if role == "evaluator":
        return ""
    busy = sum(member.vitals.busy for member in heard) / len(heard)
    text = f": {_count(len(heard), role)} at {100 * busy:.0f} %"
    if busy >= _FULL:
        return f"{text}, {where[0]}add {role}s{where[1]}"
    waits = [member.vitals.waiting_for for member in heard if member.vitals.waiting_for]
    if not waits:
        return text
    most = max(sorted(set(waits)), key=waits.count)
    return f"{text}, waiting for {most}"


def _count(num: int, role: str) -> str:
    return f"{num} {role}" + "s" * (num != 1)
