"""Which batches are too old, and that refusing them stops nobody: pipelines with random delays."""

import dataclasses
from collections import deque

import numpy as np
import pytest

from efficientzero.config.derived import healthy_staleness, staleness_bound
from efficientzero.config.fields import Config
from efficientzero.config.files import ConfigError
from efficientzero.config.validation import validate
from learner.batches.freshness import Freshness
from tests.support.fakes import tiny_config
from tests.support.training_batches import training_batch


def config_with(*, interval=10, bound=0, lag=0, queue_size=2, reanalyzers=1) -> Config:
    config = tiny_config()
    return dataclasses.replace(
        config,
        learner=dataclasses.replace(
            config.learner, target_interval=interval, max_batch_staleness=bound
        ),
        compat=dataclasses.replace(config.compat, target_weights_lag=lag),
        replay=dataclasses.replace(config.replay, queue_size=queue_size),
        cluster=dataclasses.replace(config.cluster, num_reanalyzers=reanalyzers),
    )


def test_bound_leaves_room_for_interval_lag_and_all_batches_under_way():
    # 10 an interval; 2 in the queue, 3 read ahead, 2 with the reanalyzer.
    assert healthy_staleness(config_with()) == 10 + 7
    assert healthy_staleness(config_with(lag=2)) == 30 + 7
    assert healthy_staleness(config_with(queue_size=5, reanalyzers=4)) == 10 + 5 + 3 + 8
    assert staleness_bound(config_with()) == 17 + 20
    assert staleness_bound(config_with(bound=123)) == 123


def test_bound_that_a_healthy_run_would_meet_is_refused():
    validate(config_with(bound=17))
    with pytest.raises(ConfigError, match="max_batch_staleness: got 16, wanted 0 or at least 17"):
        validate(config_with(bound=16))
    with pytest.raises(ConfigError, match="at least 19"):
        validate(config_with(bound=17, reanalyzers=2))


def test_batch_as_old_as_the_bound_is_admitted_and_an_older_slice_refuses_the_batch():
    config = config_with(bound=20)
    batch, freshness = training_batch(config), Freshness(config)
    versions = np.full(8, 30, np.int64)
    assert freshness.admits(batch._replace(target_weights_versions=versions), 50)
    assert freshness.detail() == ""
    versions[3] = 29
    assert not freshness.admits(batch._replace(target_weights_versions=versions), 50)
    assert not freshness.admits(batch, 21)
    assert freshness.detail() == "2 were too old"
    assert (freshness.take_count(), freshness.take_count()) == (2, 0)


class Pipeline:
    """Learner, queue and reanalyzers in turns of any order; weights arrive late and hangs happen.

    One call of ``turn`` is one thing that one process does. Weights take up to ``delay`` turns to
    reach a reanalyzer; a hang lets one miss up to ``hang`` turns with a batch in its hands.
    """

    def __init__(self, config: Config, rng: np.random.Generator, *, delay: int, hang: int):
        self.config, self.rng, self.delay, self.hang = config, rng, delay, hang
        self.freshness = Freshness(config)
        self.template = training_batch(config)
        count = config.cluster.num_reanalyzers
        self.train_steps, self.refused = 0, 0
        self.ages: list[int] = []
        self.queue: deque[int] = deque()
        self.lagging: deque[int] = deque()
        self.weights = [0] * count
        self.arrivals: list[list[tuple[int, int]]] = [[] for _ in range(count)]
        self.in_hand: list[int | None] = [None] * count
        self.hangs_until = [0] * count
        self.now = 0

    def turn(self) -> None:
        self.now += 1
        who = int(self.rng.integers(-1, len(self.weights)))
        if who < 0:
            self._learn()
        elif self.now >= self.hangs_until[who]:
            self._reanalyze(who)

    def _learn(self) -> None:
        if not self.queue:
            return
        version = self.queue.popleft()
        versions = np.full(8, version, np.int64)
        batch = self.template._replace(target_weights_versions=versions)
        if not self.freshness.admits(batch, self.train_steps):
            self.refused += 1
            return
        self.ages.append(self.train_steps - version)
        self.train_steps += 1
        if self.train_steps % self.config.learner.target_interval == 0:
            self.lagging.append(self.train_steps)
            if len(self.lagging) > self.config.compat.target_weights_lag:
                self._publish(self.lagging.popleft())

    def _publish(self, version: int) -> None:
        for arrivals in self.arrivals:
            arrivals.append((self.now + int(self.rng.integers(0, self.delay + 1)), version))

    def _reanalyze(self, who: int) -> None:
        if self.in_hand[who] is None:
            arrived = [version for at, version in self.arrivals[who] if at <= self.now]
            self.arrivals[who] = [(at, v) for at, v in self.arrivals[who] if at > self.now]
            self.weights[who] = max([self.weights[who], *arrived])
            self.in_hand[who] = self.weights[who]
            if self.hang and self.rng.random() < 0.05:
                self.hangs_until[who] = self.now + int(self.rng.integers(0, self.hang))
        elif len(self.queue) < self.config.replay.queue_size:
            self.queue.append(self.in_hand[who])  # type: ignore[arg-type]
            self.in_hand[who] = None


def run_pipeline(config, seed, *, delay, hang, train_steps=300, turns=60_000):
    pipeline = Pipeline(config, np.random.default_rng(seed), delay=delay, hang=hang)
    for _ in range(turns):
        pipeline.turn()
        if pipeline.train_steps == train_steps:
            break
    return pipeline


@pytest.mark.parametrize("seed", range(12))
def test_training_goes_on_with_the_least_bound_whatever_hangs_and_however_late_weights_come(seed):
    rng = np.random.default_rng(seed)
    interval, lag, reanalyzers = (int(rng.integers(a, b)) for a, b in ((1, 12), (0, 3), (1, 5)))
    config = config_with(interval=interval, lag=lag, reanalyzers=reanalyzers)
    config = config_with(
        interval=interval, lag=lag, reanalyzers=reanalyzers, bound=healthy_staleness(config)
    )
    validate(config)
    pipeline = run_pipeline(config, seed, delay=60, hang=400)
    assert pipeline.train_steps == 300
    assert max(pipeline.ages) <= staleness_bound(config)


def test_hangs_and_late_weights_do_make_batches_that_are_refused():
    config = config_with(interval=3, reanalyzers=3, bound=13)
    refused = [run_pipeline(config, seed, delay=60, hang=400).refused for seed in range(5)]
    assert min(refused) > 0


def test_nothing_is_refused_where_weights_come_at_once_and_nobody_hangs():
    for reanalyzers in (1, 3):
        config = config_with(interval=10, reanalyzers=reanalyzers)
        assert run_pipeline(config, 0, delay=0, hang=0).refused == 0


def test_bound_below_the_interval_would_stop_training_for_ever():
    """What ``validate`` refuses: at train_step 9 the newest weights are 9 old, 8 is the most."""
    pipeline = run_pipeline(config_with(interval=10, bound=8), 0, delay=0, hang=0)
    assert pipeline.train_steps == 9
