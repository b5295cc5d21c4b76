"""Which actions each rule of `actor.action_rule` plays, and how often."""

import dataclasses

import numpy as np
import pytest

from actor.actions import ActionChooser
from actor.actions.rules import make_action_rule, sample_actions
from efficientzero.config import ConfigError, epsilon, reads_child_q, validate
from efficientzero.config.fields import Config
from efficientzero.schema import SearchResult
from tests.support.fakes import tiny_config


@pytest.mark.parametrize("temperature", [1.0, 0.5, 0.25])
def test_frequencies_are_visits_to_the_power_of_one_over_temperature(temperature):
    counts = np.array([10, 30, 0, 60], np.int32)
    rng = np.random.default_rng(0)
    actions = sample_actions(np.tile(counts, (40_000, 1)), temperature, rng)
    expected = counts ** (1 / temperature) / (counts ** (1 / temperature)).sum()
    np.testing.assert_allclose(np.bincount(actions, minlength=4) / 40_000, expected, atol=0.01)


def test_an_unvisited_action_is_never_taken():
    rng = np.random.default_rng(1)
    actions = sample_actions(np.tile(np.array([0, 1, 0], np.int32), (1000, 1)), 1.0, rng)
    assert set(actions.tolist()) == {1}


def configured(**actor):
    config = Config()
    return dataclasses.replace(config, actor=dataclasses.replace(config.actor, **actor))


def found(num_roots):
    """Return a search that visited action 1 most, recommends 2, and whose highest Q is of 3."""

    def rows(numbers, kind):
        return np.tile(np.array(numbers, kind), (num_roots, 1))

    return SearchResult(
        visit_counts=rows([1, 4, 3, 0], np.int32),
        policies=rows([0.5, 0.0, 0.25, 0.25], np.float32),
        best_actions=np.full(num_roots, 2, np.int32),
        root_values=np.zeros(num_roots, np.float32),
        predicted_values=np.full(num_roots, 9.0, np.float32),
        prior_logits=np.zeros((num_roots, 4), np.float32),
        search_depths=np.ones(num_roots, np.int32),
        # That of action 3 is completed to (9 + 8 * 2) / 9 = 2.78.
        child_q=rows([2.1, 2.2, 1.7, np.nan], np.float32),
        slot_actions=np.empty((num_roots, 0, 0), np.float32),
    )


def shares(config, *, num_roots=40_000, plays_best=False, train_step=0, legal=None):
    rng = np.random.default_rng(0)
    rule = make_action_rule(config, plays_best=plays_best, generator=rng)
    actions = rule.choose(found(num_roots), legal, train_step)
    assert actions.dtype == np.int64
    return np.bincount(actions, minlength=4) / num_roots


VISITS = [1 / 26, 16 / 26, 9 / 26, 0]  # the temperature is 0.5


@pytest.mark.parametrize(
    ("rule", "plays_best", "wanted"),
    [
        ("auto", False, VISITS),
        ("auto", True, [0, 0, 1, 0]),
        ("visits", True, VISITS),
        ("recommended", False, [0, 0, 1, 0]),
        ("policy", False, [0.5, 0, 0.25, 0.25]),
        ("epsilon_greedy", True, [0.025, 0.025, 0.025, 0.925]),
    ],
)
def test_the_share_of_each_action_by_hand(rule, plays_best, wanted):
    config = configured(
        action_rule=rule,
        temperatures=(0.5,),
        temperature_fractions=(),
        epsilon_start=0.1,
        epsilon_end=0.1,
    )
    np.testing.assert_allclose(shares(config, plays_best=plays_best), wanted, atol=0.008)


def test_epsilon_falls_linearly_over_its_part_of_the_schedule():
    config = configured(epsilon_start=0.9, epsilon_end=0.1, epsilon_fraction=0.5)
    budget = dataclasses.replace(config.budget, train_steps=200)
    seen = [epsilon(step, config.actor, budget) for step in (0, 25, 50, 100, 150)]
    assert seen == pytest.approx([0.9, 0.7, 0.5, 0.1, 0.1])
    longer = dataclasses.replace(budget, schedule_train_steps=400)
    assert epsilon(50, config.actor, longer) == pytest.approx(0.7)
    at_once = dataclasses.replace(config.actor, epsilon_fraction=0.0)
    assert epsilon(0, at_once, budget) == pytest.approx(0.1)


def test_the_weights_train_step_decides_how_greedy_an_actor_is():
    config = configured(action_rule="epsilon_greedy")
    np.testing.assert_allclose(shares(config, train_step=0), 0.25, atol=0.01)
    late = shares(config, train_step=config.budget.train_steps)
    np.testing.assert_allclose(late, [0.0025, 0.0025, 0.0025, 0.9925], atol=0.002)


def test_epsilon_greedy_plays_no_illegal_action():
    legal = np.tile(np.array([True, False, True, False]), (40_000, 1))
    config = configured(action_rule="epsilon_greedy", epsilon_start=0.5)
    np.testing.assert_allclose(shares(config, legal=legal), [0.75, 0, 0.25, 0], atol=0.01)


@pytest.mark.parametrize("rule", ["recommended", "policy", "epsilon_greedy"])
def test_before_training_actions_are_uniform_from_the_same_numbers_whatever_the_rule(rule):
    uniform = found(500)._replace(visit_counts=np.ones((500, 4), np.int32))
    played = [
        ActionChooser(
            configured(action_rule=name), 500, np.random.default_rng(0), plays_best=False
        ).choose(uniform, range(500), 0, legal_actions=None, is_random=True)
        for name in (rule, "auto")
    ]
    np.testing.assert_array_equal(*played)
    assert set(played[0].tolist()) == {0, 1, 2, 3}


def test_epsilon_is_a_metric_of_epsilon_greedy_actors_alone():
    for rule, names in (
        ("auto", {"actor/temperature"}),
        ("epsilon_greedy", {"actor/temperature", "actor/epsilon"}),
    ):
        config = configured(action_rule=rule)
        chooser = ActionChooser(config, 1, np.random.default_rng(0), plays_best=False)
        row = chooser.row(0)
        assert set(row) == names
        assert row.get("actor/epsilon", 1.0) == 1.0


def test_only_epsilon_greedy_reads_the_q_of_the_roots():
    for rule in ("auto", "visits", "recommended", "policy", "epsilon_greedy"):
        assert reads_child_q(configured(action_rule=rule)) == (rule == "epsilon_greedy")


@pytest.mark.parametrize("field", ["epsilon_start", "epsilon_end", "epsilon_fraction"])
def test_a_share_above_1_is_refused(field):
    config = tiny_config()
    actor = dataclasses.replace(config.actor, **{field: 1.5})
    with pytest.raises(ConfigError, match=rf"actor\.{field}: got 1\.5, wanted 0 to 1"):
        validate(dataclasses.replace(config, actor=actor))
