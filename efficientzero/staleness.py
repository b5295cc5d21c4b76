"""How many train_steps the target weights of a training batch may be behind.

``config_checks`` checks the configured bound with it, the learner keeps it.
"""

from __future__ import annotations

from efficientzero.config import Config

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
