"""Actions in training: by frequencies of visits, Gumbel's own, and a share of uniform ones."""

import dataclasses

import numpy as np
import pytest

from actor.actions import ActionChooser
from efficientzero.config.fields import Config
from efficientzero.schema import SearchResult


def found(num_roots, *, visits=(0, 0, 8, 0)):
    """Return the result of a search that recommends action 2."""
    counts = np.tile(np.array(visits, np.int32), (num_roots, 1))
    return SearchResult(
        visit_counts=counts,
        policies=np.zeros((num_roots, 4), np.float32),
        best_actions=np.full(num_roots, 2, np.int32),
        root_values=np.zeros(num_roots, np.float32),
        predicted_values=np.zeros(num_roots, np.float32),
        prior_logits=np.zeros((num_roots, 4), np.float32),
        search_depths=np.ones(num_roots, np.int32),
        child_q=np.empty((num_roots, 0), np.float32),
        slot_actions=np.empty((num_roots, 0, 0), np.float32),
    )


def configured(**actor):
    config = Config()
    return dataclasses.replace(config, actor=dataclasses.replace(config.actor, **actor))


def make_chooser(config, num_envs, rng, *, plays_best=True):
    return ActionChooser(config, num_envs, rng, plays_best=plays_best)


def choose(chooser, result, envs):
    return chooser.choose(result, envs, 0, legal_actions=None, is_random=False)


@pytest.mark.parametrize("plays_best", [False, True])
def test_a_share_of_the_actions_is_uniform(plays_best):
    config = configured(random_action_share=0.2)
    rng = np.random.default_rng(0)
    chooser = make_chooser(config, 20_000, rng, plays_best=plays_best)
    for _ in range(3):
        actions = choose(chooser, found(20_000), range(20_000))
        assert actions.dtype == np.int64
        shares = np.bincount(actions, minlength=4) / len(actions)
        np.testing.assert_allclose(shares, [0.05, 0.05, 0.85, 0.05], atol=0.01)


@pytest.mark.parametrize(("plays_best", "draws"), [(False, 5), (True, 0)])
def test_without_a_share_nothing_is_drawn_for_it(plays_best, draws):
    ours, other = np.random.default_rng(0), np.random.default_rng(0)
    chooser = make_chooser(Config(), 5, ours, plays_best=plays_best)
    assert set(choose(chooser, found(5), range(5)).tolist()) == {2}
    other.random(draws)
    assert ours.random() == other.random()


def test_play_before_training_has_no_share_and_is_uniform():
    rng = np.random.default_rng(0)
    chooser = make_chooser(configured(random_action_share=1.0), 9_000, rng)
    result = found(9_000, visits=(2, 2, 2, 2))
    actions = chooser.choose(result, range(9_000), 0, legal_actions=None, is_random=True)
    shares = np.bincount(actions) / 9_000
    np.testing.assert_allclose(shares, 0.25, atol=0.02)


def lengths_of_random_actions(chooser, num_steps):
    """Return how many steps each random action of environment 0 takes, in order."""
    lengths, steps = [], 0
    for _ in range(num_steps):
        choose(chooser, found(1), [0])
        steps += 1
        if chooser._repeats_left[0] == 0:
            lengths.append(steps)
            steps = 0
    return np.array(lengths)


def test_repeated_random_actions_last_as_long_as_eps_z_greedy_says():
    config = configured(random_action_share=1.0, random_action_repeat=True)
    chooser = make_chooser(config, 2, np.random.default_rng(0))
    lengths = lengths_of_random_actions(chooser, 30_000)
    zeta_2 = np.pi**2 / 6
    for n in (1, 2, 3):
        assert (lengths == n).mean() == pytest.approx(1 / (zeta_2 * n**2), abs=0.02)


def test_a_repeated_action_stays_the_same_and_ends_with_its_episode():
    config = configured(random_action_share=1.0, random_action_repeat=True)
    chooser = make_chooser(config, 3, np.random.default_rng(0))
    while chooser._repeats_left[1] < 3:
        (first,) = choose(chooser, found(1), [1])
    for _ in range(2):
        assert choose(chooser, found(2), [0, 1])[1] == first
    chooser.reset(1)
    assert chooser._repeats_left[1] == 0


def test_late_moves_of_an_episode_are_the_most_visited_ones():
    config = configured(temperature_plies=2, temperatures=(1.0,), temperature_fractions=())
    chooser = make_chooser(config, 3_000, np.random.default_rng(0), plays_best=False)
    envs, result = range(3_000), found(3_000, visits=(3, 0, 5, 0))
    for ply in range(4):
        actions = choose(chooser, result, envs)
        assert actions.dtype == np.int64
        if ply < 2:
            np.testing.assert_allclose((actions == 0).mean(), 3 / 8, atol=0.03)
        else:
            assert (actions == 2).all()
    for env in range(1_000):
        chooser.reset(env)
    actions = choose(chooser, result, envs)
    np.testing.assert_allclose((actions[:1_000] == 0).mean(), 3 / 8, atol=0.05)
    assert (actions[1_000:] == 2).all()


def test_random_actions_of_the_warm_up_stay_random_late_in_an_episode():
    config = configured(temperature_plies=1, temperatures=(1.0,), temperature_fractions=())
    chooser = make_chooser(config, 3_000, np.random.default_rng(0), plays_best=False)
    result = found(3_000, visits=(1, 0, 1, 0))
    for _ in range(2):
        actions = chooser.choose(result, range(3_000), 0, legal_actions=None, is_random=True)
        np.testing.assert_allclose((actions == 0).mean(), 0.5, atol=0.03)
