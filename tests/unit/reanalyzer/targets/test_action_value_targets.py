"""Targets and priorities of Q(s, a) against loops over whole episodes, and numbers by hand."""

import numpy as np
import pytest
import torch

from efficientzero.schema import Ending
from tests.reference.reference_q_learning import q_target
from tests.support.cases.replay_cases import random_episode, window
from tests.support.cases.target_cases import (
    SPEC,
    TARGET_TRAIN_STEP,
    make_case,
    make_config,
    make_maker,
    observation_at,
    slice_batch,
)


def q_config(**changes):
    given = {"bootstrap": "network", "correction": False, "policy_coefficient": 0.0, **changes}
    return make_config(value_function="action", **given)


@torch.no_grad()
def action_values(search, episode, i):
    observation = torch.from_numpy(observation_at(episode, i))[None]
    said = search.network.initial_inference(observation)
    return search.network.support.decode(said.action_value_logits)[0].numpy()


def spread(network):
    """Give the head random last layers: it starts at zero, where all actions are worth the same."""
    torch.manual_seed(1)
    torch.nn.init.normal_(network.prediction.action_value_head[-1].output.weight)


@pytest.mark.parametrize(("unroll", "td_steps"), [(5, 5), (2, 7), (3, 1)])
def test_every_target_and_mask_equals_a_walk_through_the_whole_episode(unroll, td_steps):
    config = q_config(unroll=unroll, td_steps=td_steps, prefix_horizon=1)
    origins, slices = make_case(config, seed=unroll)
    maker, search = make_maker(config)
    spread(search.network)
    batch = maker.make_batch(slices, TARGET_TRAIN_STEP)
    errors = maker.value_errors(slices, TARGET_TRAIN_STEP)
    assert search.seen == [], "nothing reads a searched root"
    assert batch.actions.shape == batch.action_mask.shape == (len(origins), unroll + 1)
    for b, (episode, t) in enumerate(origins):
        for k in range(unroll + 1):
            assert batch.action_mask[b, k] == (t + k < len(episode))
            if not batch.action_mask[b, k]:
                continue
            wanted = q_target(
                episode,
                t + k,
                horizon=td_steps,
                discount=0.9,
                target_of=lambda i, e=episode: action_values(search, e, i),
            )
            assert batch.values[b, k] == pytest.approx(wanted, rel=1e-4, abs=1e-4)
            assert batch.actions[b, k] == episode.actions[t + k]
            if k == 0:
                now = action_values(search, episode, t)[episode.actions[t]]
                assert errors[b] == pytest.approx(abs(now - wanted), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("ending", [Ending.TERMINATED, Ending.TRUNCATED])
def test_one_step_by_hand(ending):
    """Q(s') = [3, 5], r = 1, discount 0.9: 5.5; a terminated end is worth its rewards, 1."""
    config = q_config(unroll=0, td_steps=1, prefix_horizon=1)
    rng = np.random.default_rng(0)
    episode = random_episode(SPEC, rng, number=0, length=1, ending=ending)
    episode.rewards[:] = 1.0
    slices = slice_batch([window(episode, 0, SPEC, config.agent)], rng, table_size=10)
    maker, search = make_maker(config)
    search.network_values = lambda o: np.full(len(o), max(3.0, 5.0), np.float32)
    batch = maker.make_batch(slices, TARGET_TRAIN_STEP)
    wanted = 1.0 if ending == Ending.TERMINATED else 5.5
    np.testing.assert_allclose(batch.values, [[wanted]], rtol=1e-6)
    assert batch.action_mask.tolist() == [[True]]
