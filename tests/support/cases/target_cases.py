"""Slices of random episodes, and a search whose answers tell which observation they were given.

Used by the tests of the reanalyzer's target maker.
"""

import dataclasses

import numpy as np
import torch

from efficientzero.config.derived import corrects_behaviour, most_roots, reads_child_q
from efficientzero.config.fields import Config
from efficientzero.metrics.section_timer import SectionTimer
from efficientzero.networks import make_network
from efficientzero.schema import Ending, EnvSpec, SearchResult, SliceBatch
from efficientzero.search.batched_search import BatchedSearch
from reanalyzer.targets.target_maker import TargetMaker
from tests.support.cases.replay_cases import Episode, random_episode, window
from tests.support.fakes import tiny_config

SPEC = EnvSpec(
    env_id="x", frame_shape=(3,), frame_dtype="float32", num_actions=2, num_stacked_frames=2
)
TARGET_TRAIN_STEP = 700
BATCH = 120


class TellingSearch:
    """Root value and policy are made of the observation; remembers what it was asked."""

    num_simulations = 4

    def __init__(self, config: Config, batch_size: int):
        self.batch_size, self.reads_child_q = batch_size, reads_child_q(config)
        torch.manual_seed(0)
        self.network = make_network(config, SPEC, training=False).eval()
        planner = BatchedSearch(
            self.network,
            search=config.search,
            agent=config.agent,
            policy_width=SPEC.num_actions,
            batch_size=1,
            device=torch.device("cpu"),
            generator=np.random.default_rng(0),
        )
        self.network_values = planner.network_values
        self.horizon_values = planner.horizon_values
        self.values_and_policies = planner.values_and_policies
        self.network_action_values = planner.network_action_values
        self.seen: list[np.ndarray] = []
        self.sizes: list[int] = []

    def run(self, roots, *, exploration_noise):
        observations = roots.observations
        assert exploration_noise, "roots of targets explore like an actor's"
        assert 1 <= len(observations) <= self.batch_size
        if observations.base is not None:
            assert observations.base.nbytes == observations.nbytes, "more was stacked than is used"
        self.seen.extend(observations.copy())
        self.sizes.append(len(observations))
        count = len(observations)
        return SearchResult(
            visit_counts=np.ones((count, 2), np.int32),
            policies=np.array([told_policy(o) for o in observations]),
            best_actions=np.zeros(count, np.int32),
            root_values=np.array([told_value(o) for o in observations], np.float32),
            predicted_values=np.zeros(count, np.float32),
            prior_logits=np.zeros((count, 2), np.float32),
            search_depths=np.ones(count, np.int32),
            child_q=told_child_q(observations)[:, : 2 * self.reads_child_q],
            slot_actions=np.empty((count, 0, 0), np.float32),
        )


def told_value(observation):
    return float(observation @ np.arange(1, observation.size + 1, dtype=np.float64))


def told_child_q(observations):
    """Return Q of two actions; where the first is below 0 the second was not visited."""
    first = np.array([told_value(o) for o in observations], np.float32)
    return np.stack([first, np.where(first < 0, np.nan, 2 * first)], 1).astype(np.float32)


def told_policy(observation):
    share = 1 / (1 + np.exp(-told_value(observation)))
    return np.array([share, 1 - share], np.float32)


def observation_at(episode: Episode, t: int):
    return np.concatenate([episode.frames[max(0, t - 1)], episode.frames[t]])


def make_config(
    *,
    unroll=5,
    td_steps=5,
    prefix_horizon=5,
    block_length=0,
    correction=True,
    transition_age=False,
    bootstrap="search",
    ratio=1.0,
    policy_coefficient=1.0,
    value_target="td",
    value_function="state",
    start=0,
    fresh=0,
) -> Config:
    config = tiny_config()
    return dataclasses.replace(
        config,
        budget=dataclasses.replace(config.budget, train_steps=1_000),
        agent=dataclasses.replace(
            config.agent,
            discount=0.9,
            num_unroll_steps=unroll,
            td_steps=td_steps,
            value_function=value_function,
            value_prefix=prefix_horizon > 1,
            value_prefix_horizon=max(1, prefix_horizon),
        ),
        compat=dataclasses.replace(
            config.compat, block_length=block_length, transition_age=transition_age
        ),
        reanalyzer=dataclasses.replace(
            config.reanalyzer,
            policy_reanalyze_ratio=ratio,
            value_bootstrap=bootstrap,
            value_target=value_target,
            mixed_start_train_steps=start,
            mixed_fresh_env_steps=fresh,
            off_policy_correction=correction,
            off_policy_tau=0.15,
        ),
        learner=dataclasses.replace(
            config.learner, batch_size=BATCH, policy_coefficient=policy_coefficient
        ),
    )


def make_case(config: Config, *, seed: int):
    """Return (episode, t) for each slice, and the slices; episodes end in every way and place."""
    rng = np.random.default_rng(seed)
    origins = []
    for number in range(BATCH):
        length = int(rng.integers(1, 33))
        ending = (Ending.TERMINATED, Ending.TRUNCATED)[number % 2]
        episode = random_episode(SPEC, rng, number=number, length=length, ending=ending)
        episode = dataclasses.replace(
            episode,
            weights_versions=rng.integers(0, TARGET_TRAIN_STEP + 100, length),
            env_steps=int(rng.integers(0, 900)) + 4 * np.arange(length),
        )
        origins.append((episode, int(rng.integers(length))))
    windows = [
        window(episode, t, SPEC, config.agent, whole_behaviour=corrects_behaviour(config))
        for episode, t in origins
    ]
    return origins, slice_batch(windows, rng, table_size=950)


def slice_batch(windows, rng, *, table_size):
    """Return windows as a batch of slices that were sampled with random keys and probabilities."""
    size = len(windows)
    columns = [np.stack([w[i] for w in windows]) for i in range(5)]
    return SliceBatch(
        *columns,
        steps_left=np.array([w.steps_left for w in windows], np.int32),
        endings=np.array([w.ending for w in windows], np.uint8),
        positions=np.array([w.position for w in windows], np.int64),
        env_steps=np.array([w.env_step for w in windows], np.int64),
        weights_versions=np.array([w.weights_version for w in windows], np.int64),
        keys=rng.integers(0, 2**64, size, dtype=np.uint64),
        probabilities=rng.uniform(0.01, 0.1, size),
        table_sizes=np.full(size, table_size, np.int64),
        priorities=np.ones(size),
        **without_groups(columns[4], columns[3]),
    )


def without_groups(root_values, policies):
    """Return what slices hold of groups that the environment does not have."""
    size, num_policies, width = policies.shape
    return {
        "legal_actions": np.zeros((*root_values.shape, 0), np.bool_),
        "to_play": np.zeros((size, 0), np.uint8),
        "movers": np.zeros((size, 0), np.int32),
        "continuous_actions": np.zeros((size, num_policies - 1, 0), np.float32),
        "policy_actions": np.zeros((size, num_policies, width, 0), np.float32),
    }


def make_maker(config: Config, *, batch_size=None):
    search = TellingSearch(config, batch_size or most_roots(config))
    maker = TargetMaker(
        config,
        num_actions=SPEC.num_actions,
        search=search,  # type: ignore[arg-type]
        generator=np.random.default_rng(1),
        timer=SectionTimer("reanalyzer"),
    )
    return maker, search
