"""Searches over continuous actions, against a search by loops and across backends."""

import numpy as np
import pytest
import torch

from efficientzero.networks import squashed_gaussian
from efficientzero.schema import Roots
from efficientzero.search import PriorPlanner, UniformPlanner, make_planner
from efficientzero.search.root_slots import corrected_logits
from tests.reference import reference_continuous as reference
from tests.support.cases.continuous_cases import agent, network_of, spec_of

CPU = torch.device("cpu")


def planner_of(config, spec, *, batch_size=4, seed=5):
    network = network_of(config, spec)
    return make_planner(
        config,
        spec,
        network,
        batch_size=batch_size,
        device=CPU,
        generator=np.random.default_rng(seed),
    ), network


def observations(spec, count=4):
    rng = np.random.default_rng(1)
    if spec.is_image:
        return rng.integers(0, 256, (count, *spec.observation_shape)).astype(np.uint8)
    return rng.normal(size=(count, *spec.observation_shape)).astype(np.float32)


@pytest.mark.parametrize("action_size", [1, 3])
def test_it_is_the_search_that_loops_find(action_size):
    spec, config = spec_of(action_size), agent(search__sampled_wide_factor=1.0)
    planner, network = planner_of(config, spec)
    seen = observations(spec)
    found = planner.run(Roots(seen), exploration_noise=True)
    again = np.random.default_rng(5)  # the numbers that the search has drawn
    seeds = again.integers(0, 2**64, size=4, dtype=np.uint64)
    root_noise = again.standard_normal((4, 6, action_size), dtype=np.float32)
    inner_noise = again.standard_normal((12, 4, 2, action_size), dtype=np.float32)
    for row in range(4):
        outputs = network.initial_inference(torch.as_tensor(seen[row : row + 1])).policy_logits
        mean, scale = reference.gaussian(outputs[0].detach().double().numpy())
        slots = np.tanh(mean + scale * root_noise[row])
        np.testing.assert_allclose(found.slot_actions[row], slots, atol=1e-5)
        visits, best, policy = reference.search(
            network,
            seen[row],
            config.search,
            config.agent,
            tree_seed=int(seeds[row]),
            slots=slots,
            noise=inner_noise[:, row],
        )
        assert found.visit_counts[row].tolist() == visits
        assert found.best_actions[row] == best
        np.testing.assert_allclose(found.policies[row], policy, atol=1e-4)


@pytest.mark.parametrize("is_image", [False, True])
def test_backends_agree(is_image):
    spec, results = spec_of(2, is_image=is_image), []
    for backend in ("eager", "folded"):
        planner, _ = planner_of(agent(search__inference_backend=backend), spec)
        results.append(planner.run(Roots(observations(spec)), exploration_noise=True))
    eager, folded = results
    np.testing.assert_array_equal(eager.visit_counts, folded.visit_counts)
    np.testing.assert_allclose(eager.slot_actions, folded.slot_actions, atol=1e-5)
    np.testing.assert_allclose(eager.policies, folded.policies, atol=1e-5)


def test_actions_are_in_the_box_and_half_of_them_wide_only_with_exploration():
    spec = spec_of(1)
    config = agent(search__sampled_actions=64, search__gumbel_max_considered_actions=64)
    planner, _ = planner_of(config, spec)
    roots = Roots(observations(spec))
    before = {}
    for explores in (True, False):
        found = planner.run(roots, exploration_noise=explores)
        assert (np.abs(found.slot_actions) <= 1.0).all()
        played = found.actions_in(found.best_actions)
        assert played.shape == (4, 1)
        inner = np.arctanh(found.slot_actions[:, :, 0].clip(-0.999, 0.999))
        before[explores] = inner[:, :32].std(), inner[:, 32:].std()
    assert before[True][1] > 1.5 * before[True][0]
    assert before[False][1] < 1.3 * before[False][0]


def test_the_prior_of_a_wide_draw_is_corrected_by_hand_and_by_the_reference():
    policy = squashed_gaussian.Gaussian(torch.zeros(1), torch.ones(1))
    (logit,) = corrected_logits(torch.tensor([[0.5]]), policy, wide_share=0.5, factor=3.0)
    assert float(logit) == pytest.approx(0.370215, abs=1e-6)
    spec = spec_of(2)
    planner, network = planner_of(agent(search__sampled_prior="corrected"), spec)
    seen = observations(spec)
    found = planner.run(Roots(seen), exploration_noise=True)
    outputs = network.initial_inference(torch.as_tensor(seen)).policy_logits.detach().double()
    mean, scale = reference.gaussian(outputs[0].numpy())
    for slot in range(6):
        action = found.slot_actions[0, slot].astype(np.float64)
        wanted = reference.corrected(action, mean, scale, wide_share=0.5, factor=3.0)
        assert found.prior_logits[0, slot] == pytest.approx(wanted, abs=1e-3)


def test_gumbel_variables_are_a_choice():
    spec, policies = spec_of(1), []
    for noise in (False, True):
        config = agent(search__sampled_gumbel_noise=noise)
        planner, _ = planner_of(config, spec)
        policies.append(planner.run(Roots(observations(spec)), exploration_noise=True))
    np.testing.assert_array_equal(policies[0].slot_actions, policies[1].slot_actions)
    assert (policies[0].best_actions != policies[1].best_actions).any()


def test_fewer_roots_than_the_batch_are_searched_as_all():
    spec = spec_of(1)
    whole, _ = planner_of(agent(), spec)
    few, _ = planner_of(agent(), spec)
    seen = observations(spec)
    found = whole.run(Roots(seen), exploration_noise=True)
    part = few.run(Roots(seen[:2]), exploration_noise=True)
    for name, column in found._asdict().items():
        np.testing.assert_allclose(getattr(part, name), column[:2], atol=1e-5, err_msg=name)


def test_planners_without_a_search_return_continuous_actions():
    spec, config = spec_of(2), agent()
    uniform = UniformPlanner(6, np.random.default_rng(0), action_size=2)
    found = uniform.run(Roots(observations(spec)), exploration_noise=True)
    assert found.slot_actions.shape == (4, 6, 2) and (np.abs(found.slot_actions) <= 1.0).all()
    network = network_of(config, spec)
    prior = PriorPlanner(network, CPU).run(Roots(observations(spec)), exploration_noise=False)
    outputs = network.initial_inference(torch.as_tensor(observations(spec))).policy_logits
    medians = squashed_gaussian.parameters(outputs).mean.tanh().detach().numpy()
    np.testing.assert_allclose(prior.actions_in(prior.best_actions), medians, atol=1e-6)
