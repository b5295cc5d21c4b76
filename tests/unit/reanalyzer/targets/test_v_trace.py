"""V-trace by hand, at its limits, and against the second implementation."""

import dataclasses

import numpy as np
import pytest

from efficientzero.config import ConfigError, config_from_dict
from efficientzero.config.derived import most_roots
from efficientzero.config.validation import validate
from efficientzero.search import behaviour_probabilities
from reanalyzer.targets.v_trace import v_trace_returns
from tests.reference.reference_targets import v_trace_target
from tests.support.cases.target_cases import (
    TARGET_TRAIN_STEP,
    make_case,
    make_config,
    make_maker,
    observation_at,
    told_policy,
    told_value,
)
from tests.unit.reanalyzer.targets.test_target_maker import horizon_of, rules_of


def with_v_trace(config, **fields):
    reanalyzer = dataclasses.replace(config.reanalyzer, value_target="v_trace", **fields)
    # Actors draw from the stored policies: no temperature changes them.
    actor = dataclasses.replace(config.actor, action_rule="policy")
    return dataclasses.replace(config, reanalyzer=reanalyzer, actor=actor)


def maker_of(config):
    """Return a maker whose network says of each observation what the searches say."""
    maker, search = make_maker(config)
    search.network_values = lambda shown: np.array([told_value(o) for o in shown], np.float32)
    search.values_and_policies = lambda shown: (
        search.network_values(shown),
        np.array([told_policy(o) for o in shown]),
    )
    return maker, search


def narrow(slices, config):
    """Return slices as a run without v_trace has them."""
    steps = config.agent.num_unroll_steps
    return slices._replace(
        actions=slices.actions[:, :steps], search_policies=slices.search_policies[:, : steps + 1]
    )


def test_three_steps_by_hand():
    """Deltas 5, 8, 9 and ratios 2, .5, .25: 5 + 5 + .9 * .5 * 8 + .81 * .5 * .25 * 9."""
    ratios = np.array([[2.0, 0.5, 0.25]])
    returns = v_trace_returns(
        np.array([[1, 0, 2]], np.float32),
        np.array([[5, 10, 20, 30]], np.float32),
        rhos=np.minimum(1.0, ratios),
        cs=np.minimum(1.0, ratios),
        horizons=np.array([[3]]),
        discount=0.9,
    )
    np.testing.assert_allclose(returns, [[14.51125]], rtol=1e-12)


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({"td_lambda": 1.0}, {}),
        ({"td_lambda": 0.9, "rho_clip": 2.0, "c_clip": 0.7}, {"unroll": 3, "td_steps": 7}),
        ({"td_lambda": 0.5, "rho_clip": 0.5}, {"unroll": 4, "td_steps": 1, "correction": False}),
    ],
)
@pytest.mark.parametrize("bootstrap", ["network", "search"])
def test_every_target_is_the_sum_over_the_episodes_steps(fields, options, bootstrap):
    config = with_v_trace(make_config(bootstrap=bootstrap, ratio=0.0, **options), **fields)
    origins, slices = make_case(config, seed=3)
    maker, search = maker_of(config)
    batch = maker.make_batch(slices, TARGET_TRAIN_STEP)
    reanalyzer, rules = config.reanalyzer, rules_of(config)
    for b, (episode, t) in enumerate(origins):

        def ratio_of(step, episode=episode):
            action = episode.actions[step]
            ours = told_policy(observation_at(episode, step))[action]
            return float(ours / episode.search_policies[step][action])

        for k in range(config.agent.num_unroll_steps + 1):
            wanted = v_trace_target(
                episode,
                t,
                k,
                horizon=horizon_of(config, episode, t, slices),
                trace=reanalyzer.td_lambda,
                clips=(reanalyzer.rho_clip, reanalyzer.c_clip),
                value_of=lambda i, e=episode: told_value(observation_at(e, i)),
                ratio_of=ratio_of,
                rules=rules,
            )
            assert batch.values[b, k] == pytest.approx(wanted, rel=1e-4, abs=1e-3), (b, k)
    assert len(search.seen) <= (most_roots(config) if bootstrap == "search" else 0)
    plain, _ = maker_of(make_config(bootstrap=bootstrap, ratio=0.0, **options))
    wanted = plain.make_batch(narrow(slices, config), TARGET_TRAIN_STEP)
    for name in ("actions", "action_mask", "policies", "value_prefixes"):
        np.testing.assert_array_equal(getattr(batch, name), getattr(wanted, name), err_msg=name)


def test_with_equal_policies_they_are_n_step_returns():
    plain = make_config(bootstrap="network", ratio=0.0)
    config = with_v_trace(plain, td_lambda=1.0)
    _, slices = make_case(config, seed=4)
    half = (slices.search_policies.sum(axis=2, keepdims=True) > 0) * np.float32(0.5)
    slices = slices._replace(search_policies=np.repeat(half, 2, axis=2))
    maker, search = maker_of(config)
    search.values_and_policies = lambda shown: (
        search.network_values(shown),
        np.full((len(shown), 2), 0.5, np.float32),
    )
    batch = maker.make_batch(slices, TARGET_TRAIN_STEP)
    wanted = maker_of(plain)[0].make_batch(narrow(slices, plain), TARGET_TRAIN_STEP)
    np.testing.assert_allclose(batch.values, wanted.values, rtol=1e-4, atol=1e-3)


VISITS = (0.5, 0.375, 0.125)
COLD = {"temperatures": [0.5], "temperature_fractions": []}
RANDOM = {**COLD, "random_action_share": 0.2}
GREEDY = {"action_rule": "epsilon_greedy", "epsilon_start": 0.3, "epsilon_end": 0.3}
DRAWN = {"action_rule": "policy"}
GUMBEL = {"search": {"algorithm": "gumbel"}}


def probabilities(fields, policy, version=1):
    """Return mu of each action of a policy; the second step of the row lies past the end."""
    policies = np.array([[policy, np.zeros(len(policy))]], np.float32)
    found = [
        behaviour_probabilities(
            config_from_dict(fields), policies, np.array([[a, 0]], np.int32), np.array([version])
        )[0]
        for a in range(len(policy))
    ]
    assert [last for _, last in found] == [1.0] * len(policy)
    return [first for first, _ in found]


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"actor": COLD}, (0.615385, 0.346154, 0.038462)),  # 16, 9 and 1 of 26
        ({"actor": RANDOM}, (0.558974, 0.343590, 0.097436)),
        ({"actor": DRAWN}, VISITS),
        ({"actor": GREEDY}, (0.8, 0.1, 0.1)),
        (GUMBEL, VISITS),
    ],
)
def test_the_acting_probabilities_by_hand(fields, wanted):
    np.testing.assert_allclose(probabilities(fields, VISITS), wanted, atol=1e-6)


@pytest.mark.parametrize("actor", [COLD, RANDOM, GREEDY, DRAWN])
def test_before_training_all_actions_are_alike(actor):
    thirds = (1 / 3, 1 / 3, 1 / 3)
    got = probabilities({"actor": actor}, thirds, version=0)
    np.testing.assert_allclose(got, thirds, rtol=1e-6)


def test_gumbels_unlikely_actions_have_a_least_probability():
    assert probabilities(GUMBEL, (0.9999, 0.0001))[1] == pytest.approx(0.01)


V_TRACE = {"reanalyzer": {"value_target": "v_trace"}}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"agent": {"value_function": "action"}}, "agent.value_function action, wanted td"),
        ({"agent": {"auxiliary_discounts": [0.8]}}, "agent.auxiliary_discounts, wanted td"),
        ({"learner": {"policy_coefficient": 0.0}}, "learner.policy_coefficient 0, wanted td"),
        ({"compat": {"block_length": 400}}, "compat.block_length 400, wanted td"),
        (
            {"actor": {"random_action_share": 0.1, "random_action_repeat": True}},
            "actor.random_action_repeat, wanted td",
        ),
        (
            {"search": {"improved_policy": "completed_q"}},
            "search.algorithm puct, search.improved_policy completed_q and actions by visits, want",
        ),
        (
            {**GUMBEL, "actor": {"action_rule": "visits"}},
            "search.algorithm gumbel, search.improved_policy algorithm and actions by visits, want",
        ),
        (
            {"actor": {"action_rule": "recommended"}},
            "search.algorithm puct, search.improved_policy algorithm and actions by recommended, w",
        ),
    ],
)
def test_what_replay_does_not_tell_is_refused(fields, message):
    validate(config_from_dict(V_TRACE))
    with pytest.raises(ConfigError, match=f"reanalyzer.value_target: got v_trace with {message}"):
        validate(config_from_dict({**V_TRACE, **fields}))
