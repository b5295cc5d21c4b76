"""Numbers that follow from a config, where two processes must agree on them.

How old the targets of a training batch may be, and how large its parts are.
"""

from __future__ import annotations

from efficientzero.config.fields import Config

_SPARE_INTERVALS = 2
_READ_AHEAD = 3  # batches: on the device, in the learner's reader, in Reverb's stream


def healthy_staleness(config: Config) -> int:
    """Return the age that a batch can reach at the learner although nothing is wrong.

    Target weights are at most an interval old, and their lag, when a reanalyzer takes them. Then
    the batch is made and stands in line: behind the queue, what the learner's end has read ahead,
    and two batches of every reanalyzer, one being made and one that waits for room.
    """
    learner, cluster = config.learner, config.cluster
    weights = (1 + config.compat.target_weights_lag) * learner.target_interval
    return weights + config.replay.queue_size + _READ_AHEAD + 2 * cluster.num_reanalyzers


def staleness_bound(config: Config) -> int:
    """Return the largest age that is trained on: as configured, or two intervals beyond healthy."""
    learner = config.learner
    spare = _SPARE_INTERVALS * learner.target_interval
    return learner.max_batch_staleness or healthy_staleness(config) + spare


def num_refreshed(config: Config) -> int:
    """Return how many stored steps get a fresh priority with each training batch."""
    return int(config.replay.priority_refresh_share * config.learner.batch_size)


def num_fresh_policies(config: Config, num_slices: int) -> int:
    """Return how many of ``num_slices`` get policies from a fresh search: none if none is trained.

    Without a policy loss nothing reads a fresh policy, and the search is most of a batch's cost.
    """
    if not config.learner.policy_coefficient:
        return 0
    return int(num_slices * config.reanalyzer.policy_reanalyze_ratio)


def most_roots(config: Config) -> int:
    """Return how many roots the targets of one training batch can need."""
    size, positions = config.learner.batch_size, config.agent.num_unroll_steps + 1
    fresh, value_target = num_fresh_policies(config, size), config.reanalyzer.value_target
    own_values = 0 if value_target == "td" else size * positions  # where policies are, too
    if value_target == "search" or config.reanalyzer.value_bootstrap == "network":
        return max(1, own_values, fresh * positions)
    # Values are at offsets n .. K + n, policies at 0 .. K: what both need is searched once.
    shared = max(0, positions - config.agent.td_steps)
    return size * positions + fresh * (positions - shared)
