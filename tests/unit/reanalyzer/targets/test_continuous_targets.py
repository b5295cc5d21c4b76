"""Policy targets over continuous actions: stored slots stay, fresh searches replace theirs."""

import numpy as np
import pytest
import torch

from efficientzero.metrics import SectionTimer
from efficientzero.search import make_planner
from learner.batches import BatchChecks
from learner.batches.checks import BadBatch
from reanalyzer.targets.target_maker import TargetMaker
from replay.format.slice_codec import SliceCodec
from tests.support.cases.continuous_cases import agent, network_of, spec_of

SPEC = spec_of(2)


def slices_of(config, rng):
    codec = SliceCodec(
        SPEC, config.agent, frames_per_block=4, sampled_actions=config.search.sampled_actions
    )
    size, slices = config.learner.batch_size, codec.allocate(config.learner.batch_size)
    for column in slices:
        column[...] = 0
    policies = rng.dirichlet(np.ones(slices.search_policies.shape[2]), (size, 6))
    slices.search_policies[:] = policies
    slices.frames[:] = rng.normal(size=slices.frames.shape)
    slices.policy_actions[:] = rng.uniform(-1, 1, slices.policy_actions.shape)
    slices.continuous_actions[:] = rng.uniform(-1, 1, slices.continuous_actions.shape)
    slices.steps_left[:] = 11
    slices.steps_left[0], slices.endings[0] = 2, 1  # terminated after o[t + 2]
    slices.probabilities[:], slices.table_sizes[:], slices.keys[:] = 0.1, 100, np.arange(size)
    return slices


def made(config):
    rng = np.random.default_rng(3)
    network = network_of(config, SPEC)
    planner = make_planner(
        config, SPEC, network, batch_size=16, device=torch.device("cpu"), generator=rng
    )
    maker = TargetMaker(
        config,
        num_actions=0,
        search=planner,
        generator=np.random.default_rng(1),
        timer=SectionTimer("reanalyzer"),
    )
    slices = slices_of(config, np.random.default_rng(7))
    stored = [slices.policy_actions.copy(), slices.continuous_actions.copy()]
    batch = maker.make_batch(slices, 0)
    BatchChecks(config, SPEC, largest_target=1e9).check(batch)
    return slices, stored, batch


def test_without_fresh_searches_the_stored_slots_are_the_targets():
    _, (slots, played), batch = made(agent(reanalyzer__policy_reanalyze_ratio=0.0))
    np.testing.assert_array_equal(batch.policy_actions, slots)
    np.testing.assert_array_equal(batch.best_actions, played)
    assert not batch.policies[0, 2:].any() and batch.policies[1:].any(-1).all()
    assert not batch.actions.any()


def test_fresh_searches_replace_slots_weights_and_the_best_action():
    slices, (slots, played), batch = made(agent(reanalyzer__policy_reanalyze_ratio=1.0))
    assert (batch.policy_actions[1:] != slots[1:]).all()
    exists = np.ones((8, 6), np.bool_)
    exists[0, 2:] = False
    best = batch.best_actions[exists]  # one of its slots
    distances = np.abs(batch.policy_actions[exists] - best[:, None]).max(-1)
    assert (distances.min(1) == 0).all()
    np.testing.assert_array_equal(batch.best_actions[0, 2:], played[0, 2:])
    np.testing.assert_array_equal(slices.policy_actions, slots)  # replay's buffers are left alone


@pytest.mark.parametrize("name", ["continuous_actions", "policy_actions", "best_actions"])
def test_the_learner_refuses_actions_outside_of_the_box(name):
    config = agent()
    _, _, batch = made(config)
    array = getattr(batch, name).copy()
    array.flat[0] = 1.5
    with pytest.raises(BadBatch, match=f"{name}: got 1 out of range, wanted -1 to 1"):
        BatchChecks(config, SPEC, largest_target=1e9).check(batch._replace(**{name: array}))


@pytest.mark.parametrize("target", ["td", "search"])
def test_actions_are_those_that_were_played_and_random_past_the_end(target):
    config = agent(reanalyzer__policy_reanalyze_ratio=0.5, reanalyzer__value_target=target)
    _, (_, played), batch = made(config)
    np.testing.assert_array_equal(batch.continuous_actions[1:], played[1:, :5])
    np.testing.assert_array_equal(batch.continuous_actions[0, :2], played[0, :2])
    past = batch.continuous_actions[0, 2:]
    assert (past != played[0, 2:5]).all() and (np.abs(past) <= 1).all()
