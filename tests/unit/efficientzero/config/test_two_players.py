"""What games of two players can be combined with, in one line each."""

import dataclasses
import re

import pytest

from efficientzero.config import ConfigError, config_hash, load_preset, mcts_simulations, validate
from efficientzero.schema import EnvSpec
from tests.support.cases.config_cases import changed

TWO = EnvSpec(
    env_id="OpenSpiel/tic_tac_toe",
    frame_shape=(4, 3, 3),
    frame_dtype="uint8",
    num_actions=9,
    num_stacked_frames=1,
    has_legal_actions=True,
    num_players=2,
)
ONE = dataclasses.replace(TWO, env_id="Catch-v0", num_players=1, has_legal_actions=False)

NEEDS_TWO = {
    "agent.value_prefix: got true": {"agent.value_prefix": True},
    "learner.augmentation: got true": {"learner.augmentation": True},
    "env.num_stacked_frames: got 4": {"env.num_stacked_frames": 4},
    "env.action_repeat: got 2": {"env.action_repeat": 2},
    "compat.stale_prefix_bounds: got true": {"compat.stale_prefix_bounds": True},
    "learner.target_network: got local": {"learner.target_network": "local"},
    "reanalyzer.value_target: got retrace": {
        "agent.value_function": "action",
        "reanalyzer.value_target": "retrace",
        "actor.action_rule": "policy",
    },
}
POOL = {"league.pool_share": 0.25}
BY_ITSELF = {
    "search.q_bounds: got (-1.0,), wanted none, or the lowest": {"search.q_bounds": (-1.0,)},
    "search.q_bounds: got (1.0, -1.0), wanted none, or": {"search.q_bounds": (1.0, -1.0)},
    "search.q_bounds: got (-1.0, 1.0) with search.algorithm gumbel": {
        "search.algorithm": "gumbel",
        "actor.temperature_plies": 0,
    },
    "search.q_bounds: got (-1.0, 1.0) without a search that normalises Q": {
        "search.normalize_q": False
    },
    "search.q_bounds: got (-1.0, 1.0) with compat.recomputed_bounds": {
        "compat.recomputed_bounds": True
    },
    "actor.temperature_plies: got 3 with actions by policy, wanted 0": {
        "actor.temperature_plies": 3,
        "actor.action_rule": "policy",
    },
    "actor.temperature_plies: got 3 with reanalyzer.value_target v_trace": {
        "actor.temperature_plies": 3,
        "reanalyzer.value_target": "v_trace",
    },
    "league.baselines: got none": {"league.baselines": ()},
    "league.baselines: got 'mcts-0', wanted random, minimax or mcts-<": {
        "league.baselines": ("mcts-0",)
    },
    "league.baselines: got random, random, wanted each": {"league.baselines": ("random", "random")},
    "league.baselines: got mcts-5 with env.id PettingZoo/tictactoe_v3": {
        "league.baselines": ("mcts-5",),
        "env.id": "PettingZoo/tictactoe_v3",
    },
    "league.ladder_games: got 3, wanted an even": {**POOL, "league.ladder_games": 3},
    "league.ladder_games: got 4 with league.pool_share 0, wanted 0": {"league.ladder_games": 4},
    "league.baseline_share: got 0.5 with league.pool_share 0": {"league.baseline_share": 0.5},
    "league.snapshot_interval: got 70, wanted a multiple of learner.publish_interval (50)": {
        **POOL,
        "league.snapshot_interval": 70,
    },
    "league.capacity: got 2, wanted at least 3": {**POOL, "league.capacity": 2},
    "league.pool_share: got 1.5, wanted 0 to 1": {"league.pool_share": 1.5},
    "league.pool_share: got 0.25 with cluster.deterministic": {
        **POOL,
        "cluster.deterministic": True,
        "replay.priority_refresh_share": 0.0,
    },
    "league.pool_share: got 0.25 with actor.num_envs 0": {**POOL, "actor.num_envs": 0},
}


@pytest.mark.parametrize("name", ["tictactoe", "connectfour"])
def test_presets_fit_their_games(name):
    config = load_preset(name)
    validate(config, TWO)
    assert config.agent.discount == 1.0
    assert config.search.q_bounds == (-1.0, 1.0)
    assert not config.env.clip_rewards


@pytest.mark.parametrize("message", NEEDS_TWO)
def test_refused_with_two_players_alone(message):
    config = changed(load_preset("tictactoe"), NEEDS_TWO[message])
    with pytest.raises(ConfigError) as caught:
        validate(config, TWO)
    assert str(caught.value).startswith(f"{message} with OpenSpiel/tic_tac_toe, a game of two")
    assert re.search(r", wanted .*: ", str(caught.value))
    without = changed(config, {"league.baselines": ("random",)})
    validate(without, ONE)


@pytest.mark.parametrize("message", BY_ITSELF)
def test_refused_in_any_game(message):
    config = changed(load_preset("tictactoe"), BY_ITSELF[message])
    with pytest.raises(ConfigError, match=re.escape(message)):
        validate(config)


def test_baselines_need_an_opponents_seat():
    catch = changed(load_preset("catch"), {"league.baselines": ("minimax",)})
    with pytest.raises(ConfigError, match="got minimax for Catch-v0, wanted the default"):
        validate(catch, ONE)
    catch = changed(load_preset("catch"), POOL)
    with pytest.raises(ConfigError, match=r"pool_share: got 0.25 for Catch-v0, wanted the default"):
        validate(catch, ONE)
    validate(changed(load_preset("tictactoe"), {**POOL, "league.ladder_games": 4}), TWO)


def test_names_of_searches():
    assert [mcts_simulations(name) for name in ("mcts-50", "mcts-", "mcts-05", "random")] == [
        *(50, 0, 0, 0)
    ]


def test_defaults_leave_hashes_alone():
    catch = load_preset("catch")
    for field, value in (
        ("search.q_bounds", (-1.0, 1.0)),
        ("actor.temperature_plies", 2),
        ("league.baselines", ("minimax",)),
        ("league.pool_share", 0.25),
        ("league.ladder_games", 2),
    ):
        assert config_hash(changed(catch, {field: value})) != config_hash(catch)
