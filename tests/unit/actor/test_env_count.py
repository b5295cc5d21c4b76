"""How many environments an actor plays, and that the pace does not depend on it."""

import dataclasses
import math

import pytest
import torch

from actor.env_count import TurnTimes, candidates, choose, env_count
from efficientzero.config.fields import BudgetConfig, ClusterConfig, Config
from efficientzero.config.preset_files import load_preset
from efficientzero.config.validation import validate
from efficientzero.envs import probe_env_spec
from efficientzero.networks import make_network
from learner.pacing.governor import Governor
from tests.support.cases.governor_cases import Caller, make_config
from tests.support.fakes import tiny_config

CPU = torch.device("cpu")


def chosen_by(config: Config) -> int:
    spec = probe_env_spec(config.env)
    network = make_network(config, spec, training=False).eval()
    return env_count(config, spec, network, CPU)


def with_envs(config: Config, num_envs: int, **cluster) -> Config:
    actor = dataclasses.replace(config.actor, num_envs=num_envs)
    cluster = dataclasses.replace(config.cluster, **cluster)
    return dataclasses.replace(config, actor=actor, cluster=cluster)


@pytest.fixture
def no_clock(monkeypatch):
    def timed(*arguments):
        raise AssertionError("timed")

    monkeypatch.setattr("actor.env_count.step_seconds", timed)
    monkeypatch.setattr("actor.env_count._env_step_seconds", timed)


def test_candidates_double_up_to_the_most():
    assert candidates(1) == [1]
    assert candidates(5) == [1, 2, 4, 5]
    assert candidates(64) == [1, 2, 4, 8, 16, 32, 64]


def test_rate_counts_search_and_environments_one_after_the_other_or_side_by_side():
    assert TurnTimes(search_s=0.03, envs_s=0.01, groups=1).rate(8) == pytest.approx(200.0)
    # A half of 4 every 30 ms, or every 50 ms where the environments are slower.
    assert TurnTimes(search_s=0.03, envs_s=0.01, groups=2).rate(8) == pytest.approx(4 / 0.03)
    assert TurnTimes(search_s=0.03, envs_s=0.05, groups=2).rate(8) == pytest.approx(4 / 0.05)


def test_the_fewest_environments_within_a_tenth_of_the_best_rate_are_chosen():
    # 100, 181.8, 190.5 and 200 env_steps/s.
    timed = {1: 0.01, 2: 0.011, 4: 0.021, 8: 0.04}
    assert choose((n, TurnTimes(s, 0.0, 1)) for n, s in timed.items()) == 2
    faster = timed | {8: 0.03}
    assert choose((n, TurnTimes(s, 0.0, 1)) for n, s in faster.items()) == 8


def test_a_configured_number_is_kept_without_timing(no_clock):
    assert chosen_by(with_envs(tiny_config(), 6)) == 6


def test_a_deterministic_run_takes_a_number_that_no_clock_chose(no_clock):
    config = with_envs(load_preset("catch"), 0, deterministic=True)
    assert chosen_by(config) == 4
    short = dataclasses.replace(config, budget=BudgetConfig(env_steps=600, warmup_env_steps=10))
    assert chosen_by(short) == 1


@pytest.mark.parametrize("pipeline", ["on", "off"])
def test_a_timed_number_is_a_candidate_and_a_valid_one(pipeline):
    config = with_envs(tiny_config(), 0)
    config = dataclasses.replace(
        config,
        actor=dataclasses.replace(config.actor, pipeline=pipeline),
        budget=dataclasses.replace(config.budget, env_steps=2_000),
    )
    validate(config)
    assert config.most_envs == 5
    assert chosen_by(config) in candidates(5)


@pytest.mark.parametrize(
    "env_steps, num_actors, ahead, most",
    [
        (100_000, 1, 0, 64),
        (100_000, 4, 0, 62),
        (3_000, 1, 0, 7),
        (100, 8, 0, 1),
        (9_999, 2, 40, 10),
    ],
)
def test_where_actors_choose_they_are_half_a_percent_of_the_run_ahead_at_most(
    env_steps, num_actors, ahead, most
):
    budget = BudgetConfig(env_steps=env_steps, warmup_env_steps=0, max_env_steps_ahead=ahead)
    cluster = ClusterConfig(num_actors=num_actors)
    config = with_envs(Config(budget=budget, cluster=cluster), 0)
    assert config.most_envs == most
    assert config.max_env_steps_ahead == (ahead or 2 * num_actors * most)


@pytest.mark.parametrize("chosen", [1, 2, 5])
def test_the_pace_is_kept_and_the_budget_met_whatever_an_actor_chose(chosen):
    config = make_config(env_steps=2_000, warmup=100, train_steps=500, num_envs=0)
    governor, trained = Governor(config), 0
    caller, ratios = Caller(governor), []
    assert governor.pace.slack == 10  # twice the most of 5, chosen or not
    grant = caller.acquire(chosen)
    while not grant.collection_ended:
        earned = math.floor(trained * 1_900 / 500)
        assert governor.env_steps_granted <= min(2_000, 100 + earned + 10)
        while governor.may_train(trained) and governor.env_steps < 2_000:
            trained += 1
            governor.train_step_completed(trained)
            ratios.append(trained / (governor.env_steps - 100))
        grant = caller.acquire(chosen)
    assert governor.env_steps == 2_000
    assert trained == 500
    assert ratios[-1] == pytest.approx(500 / 1_900, rel=0.01)


def test_without_a_search_an_actor_times_one_inference_a_step():
    chosen = chosen_by(with_envs(load_preset("catch-q"), 0))
    assert chosen in candidates(with_envs(load_preset("catch-q"), 0).most_envs)
