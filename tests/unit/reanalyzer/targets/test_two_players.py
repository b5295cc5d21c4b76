"""Value targets of games of two players: signs by hand, and against the second implementation."""

import dataclasses

import numpy as np
import pytest

from efficientzero.schema import Ending
from efficientzero.search import behaviour_probabilities
from reanalyzer.targets.slice_targets import slice_ends
from reanalyzer.targets.td import TdTarget
from reanalyzer.targets.value_target import AlternatingTarget, Estimates, Sample
from tests.reference.reference_two_players import Game, lambda_target, td_target, v_trace_target
from tests.support.cases.target_cases import (
    TARGET_TRAIN_STEP,
    make_case,
    make_config,
    make_maker,
    observation_at,
    told_policy,
    told_value,
)
from tests.unit.reanalyzer.targets.test_target_maker import horizon_of
from tests.unit.reanalyzer.targets.test_targets import slice_batch

CONFIG = make_config(unroll=2, td_steps=3, correction=False)


def by_hand(rewards, to_play, *, values=(0.0,) * 6, left, ending, td_steps=3):
    """Return the targets [3] of one slice of K = 2 with the discount 0.9."""
    config = dataclasses.replace(CONFIG, agent=dataclasses.replace(CONFIG.agent, td_steps=td_steps))
    rewards = np.zeros((1, 2 + td_steps), np.float32) + np.asarray(rewards, np.float32)
    slices = slice_batch(rewards, [left], [ending], 2)
    slices = slices._replace(to_play=np.array([to_play[: 3 + td_steps]], np.uint8))
    sample = Sample(slices, slice_ends(slices, block_length=0), np.zeros(1, np.int64), 0)
    estimates = Estimates(
        np.array([values[: 3 + td_steps]], np.float32), np.full((1, 3), np.nan, np.float32)
    )
    return AlternatingTarget(TdTarget(config)).targets(sample, estimates).values[0].tolist()


def test_a_game_that_player_0_wins_with_the_third_move():
    targets = by_hand([0, 0, 1, 0, 0], [0, 1, 0, 1, 0, 0], left=3, ending=Ending.TERMINATED)
    assert targets == pytest.approx([0.81, -0.9, 1.0])


def test_the_opponents_value_is_ours_with_the_other_sign():
    """One step: the value 0.4 of whoever moves next."""
    targets = by_hand(
        [0, 0, 0], [0, 1, 0, 1], values=(9.0, 0.4, 0.4, 0.4), left=4, ending=0, td_steps=1
    )
    assert targets == pytest.approx([-0.36, -0.36, -0.36])


def test_the_bootstrap_of_a_truncated_game():
    """Cut after the second move: the last frame is player 0's, and worth 0.5 to it."""
    targets = by_hand(
        [0, 0, 0, 0, 0],
        [0, 1, 0, 0, 0, 0],
        values=(0.0, 0.0, 0.5, 0.0, 0.0, 0.0),
        left=2,
        ending=Ending.TRUNCATED,
    )
    assert targets == pytest.approx([0.405, -0.45, 0.5])


def with_players(origins, slices, seed):
    """Return who moves in each episode, and the slices with it; players move in any order."""
    rng = np.random.default_rng(seed)
    everyone = [rng.integers(0, 2, len(episode) + 1) for episode, _ in origins]
    width = slices.root_values.shape[1]
    to_play = np.zeros((len(origins), width), np.uint8)
    for row, ((episode, t), players) in enumerate(zip(origins, everyone, strict=True)):
        cells = np.minimum(np.arange(t, t + width), len(episode))
        to_play[row] = players[cells]
    return everyone, slices._replace(to_play=to_play)


def told(maker, search):
    """Let the network say of each observation what the searches say."""
    search.network_values = lambda shown: np.array([told_value(o) for o in shown], np.float32)
    search.values_and_policies = lambda shown: (
        search.network_values(shown),
        np.array([told_policy(o) for o in shown]),
    )
    return maker


@pytest.mark.parametrize("kind", ["td", "td_lambda", "v_trace", "search", "mixed"])
@pytest.mark.parametrize("bootstrap", ["network", "search"])
def test_every_target_is_the_signed_sum_over_the_game(kind, bootstrap):
    config = make_config(bootstrap=bootstrap, ratio=0.0, value_target=kind, fresh=400)
    # Actors draw from the stored policies: no temperature changes them.
    config = dataclasses.replace(
        config,
        actor=dataclasses.replace(config.actor, action_rule="policy"),
        reanalyzer=dataclasses.replace(config.reanalyzer, td_lambda=0.8),
    )
    origins, slices = make_case(config, seed=5)
    everyone, slices = with_players(origins, slices, seed=6)
    maker = told(*make_maker(config))
    batch = maker.make_batch(slices, TARGET_TRAIN_STEP)
    newest = max(int(slices.env_steps.max()) + 1, int(slices.table_sizes.max()))
    seen = set()
    for row, ((episode, t), players) in enumerate(zip(origins, everyone, strict=True)):
        game = Game(
            episode=episode,
            players=players,
            value_of=lambda i, e=episode: told_value(observation_at(e, i)),
            discount=config.agent.discount,
        )
        horizon = horizon_of(config, episode, t, slices)
        is_searched = kind == "search" or (
            kind == "mixed" and newest - slices.env_steps[row] >= 400
        )

        def ratio_of(step, episode=episode, t=t):
            theirs = behaviour_probabilities(
                config,
                episode.search_policies[None, step : step + 1],
                episode.actions[None, step : step + 1],
                episode.weights_versions[t : t + 1],
            )[0, 0]
            return told_policy(observation_at(episode, step))[episode.actions[step]] / theirs

        for k in range(config.agent.num_unroll_steps + 1):
            if is_searched:
                wanted = game.value(t + k)
            elif kind in ("td", "mixed"):
                steps = config.agent.td_steps if kind == "mixed" else horizon
                wanted = td_target(game, t + k, steps)
            elif kind == "td_lambda":
                wanted = lambda_target(game, t + k, horizon, 0.8)
            else:
                wanted = (
                    v_trace_target(game, t + k, horizon, trace=0.8, ratio_of=ratio_of)
                    if t + k <= len(episode)
                    else 0.0
                )
            assert batch.values[row, k] == pytest.approx(wanted, abs=2e-4), (row, k)
        seen.add(is_searched)
    assert seen == ({True, False} if kind == "mixed" else {kind == "search"})
    rewards = np.where(batch.action_mask[:, 0], slices.rewards[:, 0], 0.0)
    # Reward targets stay the mover's own.
    np.testing.assert_allclose(batch.value_prefixes[:, 0], rewards, rtol=1e-6)


def test_refreshed_priorities_have_signs_too():
    config = make_config(bootstrap="network", ratio=0.0, prefix_horizon=1)
    origins, slices = make_case(config, seed=7)
    everyone, slices = with_players(origins, slices, seed=8)
    maker = told(*make_maker(config))
    maker.make_batch(slices, TARGET_TRAIN_STEP)
    errors = maker.value_errors(slices, TARGET_TRAIN_STEP)
    for row, ((episode, t), players) in enumerate(zip(origins, everyone, strict=True)):
        game = Game(
            episode=episode,
            players=players,
            value_of=lambda i, e=episode: told_value(observation_at(e, i)),
            discount=0.9,
        )
        wanted = abs(game.value(t) - td_target(game, t, horizon_of(config, episode, t, slices)))
        assert errors[row] == pytest.approx(wanted, abs=2e-4)


def test_auxiliary_horizons_have_signs_too():
    config = make_config(bootstrap="network", ratio=0.0)
    agent = dataclasses.replace(config.agent, auxiliary_discounts=(0.9,))
    config = dataclasses.replace(config, agent=agent)
    origins, slices = make_case(config, seed=9)
    _, slices = with_players(origins, slices, seed=10)
    maker, search = make_maker(config)

    def both(shown):
        return np.array([[told_value(o)] * 2 for o in shown], np.float32)

    search.horizon_values = both
    batch = maker.make_batch(slices, TARGET_TRAIN_STEP)
    np.testing.assert_array_equal(batch.auxiliary_values[:, 0], batch.values)
    assert (batch.values != 0).any()


def test_one_player_is_the_target_itself():
    config = make_config(ratio=0.0)
    _, slices = make_case(config, seed=11)
    assert slices.to_play.shape == (len(slices.keys), 0)
    everyone_the_same = np.zeros(slices.root_values.shape, np.uint8)
    alone = make_maker(config)[0].make_batch(slices, TARGET_TRAIN_STEP)
    same = make_maker(config)[0].make_batch(
        slices._replace(to_play=everyone_the_same), TARGET_TRAIN_STEP
    )
    np.testing.assert_array_equal(alone.values, same.values)
