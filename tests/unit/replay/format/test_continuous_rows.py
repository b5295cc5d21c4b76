"""Rows with continuous actions: what an actor stores comes back, also past an episode's end."""

import numpy as np
import pytest

from efficientzero.config.fields import AgentConfig
from efficientzero.schema import Ending, ReplayStep, Shown
from replay.format.slice_codec import SliceCodec
from tests.support.cases.continuous_cases import spec_of

LENGTH = 7


def episode_of(spec, width, seed=0):
    rng, size = np.random.default_rng(seed), spec.action_size
    steps = []
    for t in range(LENGTH):
        policy = rng.dirichlet(np.ones(width)).astype(np.float32)
        slots = rng.uniform(-1, 1, (width, size)).astype(np.float32)
        steps.append(
            ReplayStep(
                frame=rng.normal(size=spec.frame_shape).astype(np.float32),
                action=0,
                reward=float(t),
                search_policy=policy,
                root_value=1.0,
                priority=1.0,
                weights_version=3,
                env_step=t,
                continuous_action=slots[int(policy.argmax())],
                policy_actions=slots,
            )
        )
    return steps


@pytest.mark.parametrize("size", [1, 6, 21])
@pytest.mark.parametrize("width", [1, 16])
def test_actions_slots_and_weights_come_back(size, width):
    spec, agent = spec_of(size), AgentConfig(num_unroll_steps=3, td_steps=2)
    codec = SliceCodec(spec, agent, frames_per_block=4, sampled_actions=width)
    packer, blocks, steps = codec.make_packer(), [], episode_of(spec, width)
    for t, step in enumerate(steps):
        if codec.pack_step(packer, step, position=t):
            blocks.append(packer.finish())
    codec.pack_ending(packer, Shown(steps[0].frame), Ending.TERMINATED, position=LENGTH)
    blocks.append(packer.finish())
    for t in range(LENGTH):
        ((_, wanted, place),) = codec.windows(range(t, t + 1), last_row=LENGTH)
        batch = codec.allocate(1)
        codec.decode_into(batch, 0, blocks=blocks[wanted.start : wanted.stop], place=place)
        assert batch.continuous_actions.shape == (1, 4, size)  # one more than is unrolled
        for k in range(4):
            if t + k >= LENGTH:
                assert not batch.policy_actions[0, k].any()
                assert not batch.continuous_actions[0, k].any()
                continue
            step = steps[t + k]
            np.testing.assert_array_equal(batch.search_policies[0, k], step.search_policy)
            np.testing.assert_array_equal(batch.policy_actions[0, k], step.policy_actions)
            np.testing.assert_array_equal(batch.continuous_actions[0, k], step.continuous_action)


def test_an_action_outside_of_the_box_is_refused():
    spec = spec_of(1)
    agent = AgentConfig(num_unroll_steps=1, td_steps=1)
    codec = SliceCodec(spec, agent, frames_per_block=16, sampled_actions=2)
    packer, steps = codec.make_packer(), episode_of(spec, 2)
    steps[1] = steps[1]._replace(continuous_action=np.array([1.5], np.float32))
    for t, step in enumerate(steps):
        codec.pack_step(packer, step, position=t)
    codec.pack_ending(packer, Shown(steps[0].frame), Ending.TERMINATED, position=LENGTH)
    with pytest.raises(ValueError, match=r"continuous action near env_step 1: got 1\.5"):
        codec.decode_into(codec.allocate(1), 0, blocks=[packer.finish()], place=0)
