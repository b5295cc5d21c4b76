"""Legal actions in value and policy targets: reanalyzers', the learner's, and by hand."""

import types

import numpy as np
import pytest
import torch

from efficientzero.config import Config
from efficientzero.search import behaviour_probabilities
from learner.training.local_targets import LocalTargets
from reanalyzer.targets.retrace import target_policies
from tests.reference.reference_targets import value_target
from tests.support.cases.loss_cases import changed
from tests.support.cases.target_cases import (
    TARGET_TRAIN_STEP,
    make_case,
    make_config,
    make_maker,
    observation_at,
)
from tests.unit.learner.training.test_local_targets import LOCAL, loaded, moved
from tests.unit.reanalyzer.targets.test_target_maker import horizon_of, rules_of


def masked_case(config, *, seed):
    """Return (episode, t) and masks [T + 1, 2] for each slice, and the slices with these masks."""
    origins, slices = make_case(config, seed=seed)
    rng, num_cells = np.random.default_rng(seed), slices.root_values.shape[1]
    legal, masks = np.zeros((len(origins), num_cells, 2), np.bool_), []
    for b, (episode, t) in enumerate(origins):
        mask = rng.random((len(episode) + 1, 2)) < 0.5
        mask[~mask.any(axis=1), rng.integers(2)] = True
        masks.append(mask)
        seen = mask[t : t + num_cells]
        legal[b, : len(seen)] = seen
    return origins, masks, slices._replace(legal_actions=legal)


def test_searches_get_the_mask_of_their_observation_also_at_a_truncated_end():
    config = make_config()
    origins, masks, slices = masked_case(config, seed=1)
    wanted = {
        observation_at(episode, i).tobytes(): (mask[i].tolist(), i == len(episode))
        for (episode, _), mask in zip(origins, masks, strict=True)
        for i in range(len(episode) + 1)
    }
    maker, search = make_maker(config, batch_size=70)
    run, seen = search.run, []

    def recording(roots, *, exploration_noise):
        seen.extend(zip(roots.observations.copy(), roots.legal_actions, strict=True))
        return run(roots, exploration_noise=exploration_noise)

    search.run = recording
    maker.make_batch(slices, TARGET_TRAIN_STEP)
    found = [wanted[np.ascontiguousarray(observation).tobytes()] for observation, _ in seen]
    assert [mask.tolist() for _, mask in seen] == [mask for mask, _ in found]
    assert len(seen) > 500 and any(is_last for _, is_last in found)


@pytest.mark.parametrize("double", [False, True])
def test_the_largest_q_of_a_bootstrap_is_that_of_a_legal_action(double):
    plain = make_config(bootstrap="network", value_function="action")
    local = changed(plain, learner=LOCAL, agent={"double_q": double})
    origins, masks, slices = masked_case(plain, seed=3)
    (maker, search), (sums, _) = make_maker(plain), make_maker(local)
    network = moved(search.network)
    wanted = maker.make_batch(slices, TARGET_TRAIN_STEP)
    batch = sums.make_batch(slices, TARGET_TRAIN_STEP)
    assert batch.bootstrap_legal_actions.shape == (*batch.values.shape, 2)
    assert wanted.bootstrap_legal_actions.shape[1:] == (0, 0)
    completed = LocalTargets(network, local).complete(loaded(local, batch), 1)
    np.testing.assert_allclose(completed.values, wanted.values, rtol=1e-6, atol=1e-6)
    assert completed.bootstrap_legal_actions is None

    def value_of(episode, mask, i):
        observation = torch.tensor(observation_at(episode, i))[None].float()
        with torch.no_grad():
            q = network.answer_rule.action_values(network.initial_inference(observation))[0]
        return max(float(q[a]) for a in range(2) if mask[i, a])

    for b, (episode, t) in enumerate(origins[:4]):
        for k in range(plain.agent.num_unroll_steps + 1):
            alone = value_target(
                episode,
                t,
                k,
                horizon=horizon_of(plain, episode, t, slices),
                value_of=lambda i, e=episode, m=masks[b]: value_of(e, m, i),
                rules=rules_of(plain),
            )
            assert float(wanted.values[b, k]) == pytest.approx(alone, rel=1e-5, abs=1e-5)
    free = maker.make_batch(slices._replace(legal_actions=slices.legal_actions[:, :, :0]), 1)
    assert not np.allclose(free.values, wanted.values)


def test_double_q_chooses_among_legal_actions_by_the_live_network():
    config = changed(
        make_config(bootstrap="network", value_function="action"),
        learner=LOCAL,
        agent={"double_q": True},
    )
    _, _, slices = masked_case(config, seed=4)
    maker, search = make_maker(config)
    frozen = LocalTargets(moved(search.network), config)
    batch = maker.make_batch(slices, TARGET_TRAIN_STEP)
    inputs = loaded(config, batch)
    shape = inputs.bootstrap_observations.shape
    flat = inputs.bootstrap_observations.flatten(0, 1)
    rule = search.network.answer_rule
    of_frozen = rule.action_values(search.network.initial_inference(flat)).detach()
    moved(search.network, seed=8)
    of_live = rule.action_values(search.network.initial_inference(flat)).detach()
    masks = batch.bootstrap_legal_actions.reshape(-1, 2)
    best = [
        max((a for a in range(2) if mask[a]), key=lambda a, q=q: float(q[a]))
        for mask, q in zip(masks, of_live, strict=True)
    ]
    tails = of_frozen[torch.arange(len(best)), torch.tensor(best)].view(*shape[:2])
    discounts = inputs.bootstrap_discounts
    wanted = inputs.values + torch.where(discounts > 0, discounts * tails, 0.0)
    got = frozen.complete(inputs, 1).values
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("actor", "wanted"),
    [
        ({}, [0.75, 0, 0.25, 0]),
        # 0.8 of the policy, 0.2 spread over two legal actions.
        ({"random_action_share": 0.2}, [0.7, 0, 0.3, 0]),
        (
            {"action_rule": "epsilon_greedy", "epsilon_start": 0.4, "epsilon_end": 0.4},
            [0.8, 0, 0.2, 0],
        ),
    ],
)
def test_the_acting_policy_by_hand(actor, wanted):
    actor = {"temperatures": (1.0,), "temperature_fractions": (), **actor}
    config = changed(Config(), actor=actor)
    policies = np.tile(np.array([0.75, 0, 0.25, 0], np.float32), (1, 4, 1))
    legal = np.tile(np.array([True, False, True, False]), (1, 4, 1))
    actions = np.arange(4, dtype=np.int32)[None]
    got = behaviour_probabilities(config, policies, actions, np.array([9]), legal)
    np.testing.assert_allclose(got, [wanted], rtol=1e-6)


def test_the_policies_of_retrace_are_over_legal_actions():
    q = np.array([[[1.0, 3.0, 2.0], [1.0, 3.0, 2.0]]])
    legal = np.array([[[True, False, True], [False, False, False]]])
    config = changed(Config(), search={"q_temperature": 1.0})
    shares = np.exp([1.0, 2.0]) / np.exp([1.0, 2.0]).sum()
    got = target_policies(config, q, legal)[0]
    np.testing.assert_allclose(got[0], [shares[0], 0, shares[1]])
    np.testing.assert_array_equal(got[1], target_policies(config, q)[0, 1])
    greedy = changed(config, reanalyzer={"target_policy": "greedy"})
    assert target_policies(greedy, q, legal)[0, 0].tolist() == [0, 0, 1]


def test_corrected_returns_count_an_illegal_action_of_the_head_as_none():
    """V-trace with masks is V-trace with the head's policy over the legal actions."""
    config = make_config(bootstrap="network", value_target="v_trace", correction=False)
    _, _, slices = masked_case(config, seed=6)
    maker, search = make_maker(config)
    moved(search.network)
    got = maker.make_batch(slices, TARGET_TRAIN_STEP).values
    original, cells = search.values_and_policies, iter(())

    def over_legal(observations):
        values, policies = original(observations)
        rows = np.array([next(cells) for _ in range(len(values))])
        kept = np.where(rows, policies, 0)
        return values, kept / kept.sum(axis=1, keepdims=True)

    free, _ = make_maker(config)
    free._cells._search = types.SimpleNamespace(values_and_policies=over_legal)
    reached = free._value_target.needs(free._aged(slices, TARGET_TRAIN_STEP))
    cells = iter(slices.legal_actions[reached.values | reached.policies])
    without = slices._replace(legal_actions=slices.legal_actions[:, :, :0])
    np.testing.assert_allclose(free.make_batch(without, TARGET_TRAIN_STEP).values, got, rtol=1e-5)
