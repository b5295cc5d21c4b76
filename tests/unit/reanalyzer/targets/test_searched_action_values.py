"""Targets of Q(s, a) from fresh searches, and the largest Q(s, a) as the bootstrap."""

import dataclasses

import numpy as np
import pytest
import torch

from efficientzero.schema import Roots
from efficientzero.search.improved_policy import completed_q
from tests.support.cases.target_cases import (
    TARGET_TRAIN_STEP,
    make_case,
    make_config,
    make_maker,
    observation_at,
    told_policy,
)


def q_config(kind="regression", *, coefficient=0.5, **changes):
    config = make_config(**{"bootstrap": "network", "unroll": 3, **changes})
    learner = dataclasses.replace(
        config.learner, action_value_coefficient=coefficient, action_value_loss=kind
    )
    return dataclasses.replace(config, learner=learner)


def search_result(search, observation):
    """Return the fake search's answer for one root."""
    return search.run(Roots(np.array([observation])), exploration_noise=True)


@pytest.mark.parametrize("kind", ["regression", "softmax"])
def test_each_searched_position_gets_the_q_of_its_root(kind):
    config = q_config(kind, ratio=0.5)
    origins, slices = make_case(config, seed=3)
    maker, search = make_maker(config)
    batch = maker.make_batch(slices, TARGET_TRAIN_STEP)
    assert batch.action_value_targets.shape == (len(origins), 4, 2)
    num_known = 0
    for b, (episode, t) in enumerate(origins):
        for k in range(4):
            target = batch.action_value_targets[b, k]
            exists = t + k < len(episode.actions)
            fresh = exists and np.allclose(
                batch.policies[b, k], told_policy(observation_at(episode, t + k))
            )
            if not fresh:
                assert np.isnan(target).all()
                continue
            num_known += 1
            found = search_result(search, observation_at(episode, t + k))
            wanted = completed_q(found)[0] if kind == "softmax" else found.child_q[0]
            np.testing.assert_allclose(target, wanted, rtol=1e-6)
    assert 0 < num_known < batch.policies.any(2).sum(), "some slices keep their stored policies"
    known = ~np.isnan(batch.action_value_targets[:, :, 0])
    second = np.isnan(batch.action_value_targets[:, :, 1])[known]
    assert second.any() == (kind == "regression"), "an action without a visit"


def test_without_a_policy_loss_the_searches_are_made_all_the_same():
    config = q_config(policy_coefficient=0.0)
    _, slices = make_case(config, seed=3)
    maker, search = make_maker(config)
    batch = maker.make_batch(slices, TARGET_TRAIN_STEP)
    assert search.seen
    assert not np.isnan(batch.action_value_targets[:, 0, 0]).any()


def test_off_there_is_no_target():
    config = q_config(coefficient=0.0)
    _, slices = make_case(config, seed=3)
    maker, search = make_maker(config)
    assert maker.make_batch(slices, TARGET_TRAIN_STEP).action_value_targets.shape[1] == 0
    assert not search.reads_child_q


@torch.no_grad()
def test_the_largest_action_value_bootstraps_the_state_value():
    config = q_config(bootstrap="max_action_value", td_steps=2, correction=False)
    origins, slices = make_case(config, seed=4)
    maker, search = make_maker(config)
    torch.nn.init.normal_(search.network.prediction.action_value_head[-1].output.weight)
    batch = maker.make_batch(slices, TARGET_TRAIN_STEP)
    num_checked = 0
    for b, (episode, t) in enumerate(origins):
        if t + 2 >= len(episode.actions):
            continue
        shown = torch.from_numpy(observation_at(episode, t + 2))[None]
        said = search.network.initial_inference(shown)
        q = search.network.support.decode(said.action_value_logits)[0]
        assert q[0] != q[1]
        wanted = episode.rewards[t] + 0.9 * episode.rewards[t + 1] + 0.81 * float(q.max())
        assert batch.values[b, 0] == pytest.approx(wanted, rel=1e-4, abs=1e-4)
        num_checked += 1
    assert num_checked > 3
