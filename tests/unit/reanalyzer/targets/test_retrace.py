"""Retrace by hand, at its limits, and against the second implementation."""

import numpy as np
import pytest

from efficientzero.config import ConfigError, load_preset
from efficientzero.config.validation import validate
from reanalyzer.targets.retrace import retrace_returns
from tests.reference.reference_targets import retrace_target
from tests.support.cases.config_cases import changed
from tests.support.cases.target_cases import (
    TARGET_TRAIN_STEP,
    make_case,
    make_config,
    make_maker,
    observation_at,
    told_value,
)
from tests.unit.reanalyzer.targets.test_target_maker import horizon_of, rules_of

TEMPERATURE = 2.0
"""As large as the differences of ``told_q``: no policy is certain."""


def with_retrace(*, td_lambda=0.9, target_policy="policy", **options):
    """Return a config whose actors draw from the stored policies."""
    config = make_config(bootstrap="network", ratio=0.0, value_function="action", **options)
    fields = {
        "reanalyzer.value_target": "retrace",
        "reanalyzer.target_policy": target_policy,
        "reanalyzer.td_lambda": td_lambda,
        "actor.action_rule": "policy",
        "search.q_temperature": TEMPERATURE,
    }
    return changed(config, fields)


def told_q(observation):
    value = told_value(observation)
    return [value, value + 3 * np.sin(value)]


def told_policy(observation, target_policy):
    q = told_q(observation)
    if target_policy == "greedy":
        return [float(q[0] >= q[1]), float(q[0] < q[1])]
    share = 1 / (1 + np.exp((q[1] - q[0]) / TEMPERATURE))
    return [share, 1 - share]


def maker_of(config):
    maker, search = make_maker(config)
    asked = []

    def network_action_values(shown):
        asked.extend(shown)
        return np.array([told_q(o) for o in shown], np.float32)

    search.network_action_values = network_action_values
    search.network_values = lambda shown: network_action_values(shown).max(axis=1)
    return maker, asked


def test_three_steps_by_hand():
    q = np.array([[4, 5], [10, 8], [20, 22], [30, 28]], np.float64)
    policies = np.array([[0.2, 0.8], [0.7, 0.3], [0.4, 0.6], [0.9, 0.1]])
    steps, actions = np.arange(3), np.array([1, 0, 1])
    ratios = policies[steps, actions] / np.array([0.5, 0.5, 0.9])
    means = (policies * q).sum(axis=1)
    for length, wanted in ((3, 19.797868), (2, 22.7628), (1, 28.82)):
        first = 3 - length
        returns = retrace_returns(
            np.array([[1, 0, 2]], np.float32)[:, first:],
            means[None, first:],
            q[steps, actions][None, first:],
            cs=0.9 * np.minimum(1.0, ratios)[None, first:],
            tails=means[None, -1:],
            horizons=np.array([[length]]),
            discount=0.9,
        )
        np.testing.assert_allclose(returns, [[wanted]], rtol=1e-12)


@pytest.mark.parametrize("target_policy", ["policy", "greedy"])
@pytest.mark.parametrize(
    ("td_lambda", "options"),
    [
        (0.9, {}),
        (1.0, {"unroll": 3, "td_steps": 7, "correction": False}),
        (0.5, {"unroll": 4, "td_steps": 1}),
        (0.8, {"unroll": 0, "td_steps": 6, "prefix_horizon": 1}),
    ],
)
def test_every_target_is_the_sum_over_the_episodes_steps(target_policy, td_lambda, options):
    config = with_retrace(td_lambda=td_lambda, target_policy=target_policy, **options)
    origins, slices = make_case(config, seed=3)
    maker, asked = maker_of(config)
    batch = maker.make_batch(slices, TARGET_TRAIN_STEP)
    for b, (episode, t) in enumerate(origins):

        def shown(step, episode=episode):
            return observation_at(episode, step)

        for k in range(config.agent.num_unroll_steps + 1):
            wanted = retrace_target(
                episode,
                t,
                k,
                horizon=horizon_of(config, episode, t, slices),
                trace=td_lambda,
                q_of=lambda i: told_q(shown(i)),
                policy_of=lambda i: told_policy(shown(i), target_policy),
                behaviour_of=lambda i, e=episode: float(e.search_policies[i][e.actions[i]]),
                rules=rules_of(config),
            )
            assert batch.values[b, k] == pytest.approx(wanted, rel=1e-4, abs=1e-3), (b, k)
    assert (
        len(asked)
        == maker._value_target.needs(maker._aged(slices, TARGET_TRAIN_STEP)).action_values.sum()
    )


def narrow(slices, config):
    """Return slices as a run with n-step returns has them."""
    steps = config.agent.num_unroll_steps + 1
    return slices._replace(
        actions=slices.actions[:, :steps], search_policies=slices.search_policies[:, :steps]
    )


def test_one_step_of_greedy_retrace_is_q_learning():
    config = with_retrace(target_policy="greedy", td_lambda=0.0)
    _, slices = make_case(config, seed=4)
    plain = changed(
        config,
        {
            "reanalyzer.value_target": "td",
            "reanalyzer.target_policy": "policy",
            "agent.td_steps": 1,
        },
    )
    batch = maker_of(config)[0].make_batch(slices, TARGET_TRAIN_STEP)
    wanted = maker_of(plain)[0].make_batch(narrow(slices, plain), TARGET_TRAIN_STEP)
    np.testing.assert_allclose(batch.values, wanted.values, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("is_best", [True, False])
def test_returns_end_at_the_first_action_that_is_not_the_best(is_best):
    """With lambda 1 best actions give n-step returns, worst ones those of one step."""
    config = with_retrace(target_policy="greedy", td_lambda=1.0, correction=False)
    origins, slices = make_case(config, seed=5)
    actions = slices.actions.copy()
    for b, (episode, t) in enumerate(origins):
        for i in range(min(actions.shape[1], len(episode) - t)):
            q = told_q(observation_at(episode, t + i))
            actions[b, i] = np.argmax(q) if is_best else np.argmin(q)
    slices = slices._replace(actions=actions)
    plain = changed(
        config,
        {
            "reanalyzer.value_target": "td",
            "reanalyzer.target_policy": "policy",
            "agent.td_steps": config.agent.td_steps if is_best else 1,
        },
    )
    batch = maker_of(config)[0].make_batch(slices, TARGET_TRAIN_STEP)
    wanted = maker_of(plain)[0].make_batch(narrow(slices, plain), TARGET_TRAIN_STEP)
    np.testing.assert_allclose(batch.values, wanted.values, rtol=1e-4, atol=1e-3)


RETRACE = {"reanalyzer.value_target": "retrace", "learner.target_network": "reanalyzer"}
SEARCHES = {"search.prior": "action_values", "reanalyzer.policy_reanalyze_ratio": 0.0}
EXPLORES = {"actor.random_action_share": 0.1}


@pytest.mark.parametrize(
    ("preset", "fields", "message"),
    [
        ("catch", {}, "agent.value_function state, wanted td, v_trace or action"),
        (
            "catch",
            {
                "agent.value_function": "action",
                **SEARCHES,
                "reanalyzer.value_bootstrap": "search",
            },
            "reanalyzer.value_bootstrap search, wanted network",
        ),
        ("catch-q", {"compat.block_length": 400}, "compat.block_length 400, wanted td"),
        (
            "catch-q",
            {**EXPLORES, "actor.random_action_repeat": True},
            "actor.random_action_repeat, wanted td",
        ),
        (
            "catch-q",
            {**EXPLORES, "actor.action_rule": "auto"},
            "search.num_simulations 0, search.improved_policy algorithm and actions by auto, want",
        ),
        (
            "catch-q",
            {**EXPLORES, "actor.action_rule": "recommended"},
            "search.num_simulations 0, search.improved_policy algorithm and actions by recommended",
        ),
        (
            "catch",
            {"agent.value_function": "action", "actor.action_rule": "epsilon_greedy"},
            "search.algorithm puct, search.improved_policy algorithm and actions by epsilon_greedy",
        ),
    ],
)
def test_what_has_no_correction_is_refused(preset, fields, message):
    config = changed(load_preset(preset), {**RETRACE, **fields})
    with pytest.raises(ConfigError, match=f"reanalyzer.value_target: got retrace with {message}"):
        validate(config)


@pytest.mark.parametrize(
    ("preset", "fields"),
    [
        ("catch-q", {}),
        ("catch-q", {"reanalyzer.target_policy": "greedy"}),
        ("catch-q", {"actor.action_rule": "policy"}),
        ("catch", {"agent.value_function": "action"}),
        ("catch", {"agent.value_function": "action", "search.algorithm": "gumbel"}),
    ],
)
def test_agents_with_known_probabilities_are_allowed(preset, fields):
    validate(changed(load_preset(preset), {**RETRACE, **fields}))


@pytest.mark.parametrize("value_target", ["td", "v_trace"])
def test_a_greedy_policy_that_nothing_reads_is_refused(value_target):
    config = changed(
        load_preset("catch"),
        {"reanalyzer.value_target": value_target, "reanalyzer.target_policy": "greedy"},
    )
    message = (
        f"reanalyzer.target_policy: got greedy with reanalyzer.value_target {value_target}, wanted"
    )
    with pytest.raises(ConfigError, match=message):
        validate(config)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"learner.target_network": "local"}, "learner.target_network: got local with"),
        ({"network.noisy_heads": True}, "network.noisy_heads: got true with"),
    ],
)
def test_other_parts_refuse_retrace(fields, message):
    config = changed(load_preset("catch-q"), {**RETRACE, **fields})
    with pytest.raises(ConfigError, match=f"{message} reanalyzer.value_target retrace, wanted"):
        validate(config)
