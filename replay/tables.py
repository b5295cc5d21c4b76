"""The tables of the replay service: names, samplers, removers and limits.

The server builds them here; clients take only the names and column names.
"""

from __future__ import annotations

from typing import Any

from efficientzero.config import ReplayConfig
from efficientzero.schema import EnvSpec
from replay.driver import reverb_lite
from replay.format import has_optional_groups

TRAJECTORIES = "trajectories_4"
"""One item per env_step: the window of its episode that starts there. The number in the name is the
version of the format; it grows with every change."""
TRAJECTORIES_WITH_GROUPS = "trajectories_5"
"""The same with groups of columns that only some environments need (``row_layout``)."""
TRAJECTORIES_WITH_MOVERS = "trajectories_6"
"""The same in a run with a pool of opponents, whose rows say whose weights moved."""
TRAJECTORIES_IN_USE = (TRAJECTORIES, TRAJECTORIES_WITH_GROUPS, TRAJECTORIES_WITH_MOVERS)
"""A service has one of them."""
STORED_STEPS = "stored_steps"
"""The same windows again, drawn uniformly; only if priorities are refreshed."""
TRAINING_QUEUE = "training_queue"
"""Whole training batches, first in first out, each given to one reader."""

_NO_LIMIT = 2**31 - 1  # Reverb's largest value


def trajectories_table(spec: EnvSpec, *, has_movers: bool = False) -> str:
    """Return the name of the steps' table for an environment, ``has_movers`` with a pool."""
    if has_movers:
        return TRAJECTORIES_WITH_MOVERS
    return TRAJECTORIES_WITH_GROUPS if has_optional_groups(spec) else TRAJECTORIES


def build_tables(
    config: ReplayConfig, *, steps: str = TRAJECTORIES, in_order: bool = False
) -> list[Any]:
    """Return the service's tables, empty. ``steps`` is the name of the steps' table.

    With ``in_order`` (deterministic runs) the steps' table gives every item once, the oldest first,
    to an ``OrderedSampler``, which draws with the run's seed: Reverb seeds its sampler from the
    system.

    The steps' table refuses to sample only while it is empty. The learner keeps the pace between
    collection and training, from this table's counters. Reverb's own limiter (SampleToInsertRatio)
    also counts samples sent to a reader that died; once it is off by more than its band, both sides
    wait for each other forever.
    """
    reverb = reverb_lite.load()
    trajectories = reverb.Table(
        name=steps,
        sampler=_sampler(config.priority_exponent, in_order=in_order),
        remover=reverb.selectors.Fifo(),
        max_size=_NO_LIMIT if in_order else config.capacity,
        rate_limiter=reverb.rate_limiters.MinSize(1),
        max_times_sampled=int(in_order),  # 0: any number of times
    )
    tables = [trajectories, reverb.Table.queue(TRAINING_QUEUE, config.queue_size)]
    if config.priority_refresh_share > 0:
        # Reverb has one sampler a table. Both tables' items refer to the same blocks and rows.
        tables.append(
            reverb.Table(
                name=STORED_STEPS,
                sampler=reverb.selectors.Uniform(),
                remover=reverb.selectors.Fifo(),
                max_size=config.capacity,
                rate_limiter=reverb.rate_limiters.MinSize(1),
            )
        )
    return tables


def _sampler(exponent: float, *, in_order: bool) -> Any:  # noqa: ANN401  one of Reverb's selectors
    selectors = reverb_lite.load().selectors
    if in_order:
        return selectors.Fifo()
    # With exponent 0 no process sends priorities, and the service keeps no sum of them.
    return selectors.Prioritized(exponent) if exponent > 0 else selectors.Uniform()
