"""The sizes of a policy, and that they are asked for wherever a policy lies."""

import numpy as np
import pytest
import torch

from efficientzero.config import AgentConfig, Config
from efficientzero.networks import make_network
from efficientzero.schema import Ending, PolicyShape, ReplayStep, Shown
from replay.format.batch_codec import batch_spec
from replay.format.slice_codec import SliceCodec
from tests.support.cases.replay_cases import IMAGES, VECTORS

OTHER = PolicyShape(head_size=9, width=5)


@pytest.fixture
def other_sizes(monkeypatch):
    """Policies that have more entries than there are actions, and a head with yet more outputs."""
    monkeypatch.setattr(PolicyShape, "of", classmethod(lambda cls, *_: OTHER))


def test_policies_over_numbered_actions_have_an_entry_and_an_output_for_each():
    assert PolicyShape.of(IMAGES) == (6, 6, 0)
    assert PolicyShape.of(VECTORS) == (2, 2, 0)


@pytest.mark.usefixtures("other_sizes")
@pytest.mark.parametrize("spec", [IMAGES, VECTORS])
def test_the_policy_head_has_the_outputs_that_the_policys_shape_asks_for(spec):
    network = make_network(Config(), spec, training=False).eval()
    root = network.initial_inference(torch.zeros(3, *spec.observation_shape))
    assert root.policy_logits.shape == (3, 9)
    latents, states = root.latents, network.initial_lstm_states(3)
    step = network.recurrent_inference(latents, states, torch.tensor([0, 1, 0]))
    assert step.policy_logits.shape == (3, 9)


@pytest.mark.usefixtures("other_sizes")
def test_replay_stores_every_entry_of_a_policy_and_training_batches_have_room_for_them():
    agent = AgentConfig(num_unroll_steps=2, td_steps=1)
    codec = SliceCodec(VECTORS, agent, frames_per_block=8)
    policies = np.random.default_rng(0).dirichlet(np.ones(5), 2).astype(np.float32)
    frame, packer = np.zeros(5, np.float32), codec.make_packer()
    for t, policy in enumerate(policies):
        step = ReplayStep(
            frame=frame,
            action=1,
            reward=0.5,
            search_policy=policy,
            root_value=2.0,
            priority=1.0,
            weights_version=7,
            env_step=t,
        )
        codec.pack_step(packer, step, position=t)
    codec.pack_ending(packer, Shown(frame), Ending.TERMINATED, position=2)

    batch = codec.allocate(1)
    codec.decode_into(batch, 0, blocks=[packer.finish()], place=0)

    expected = [*policies, np.zeros(5)]
    np.testing.assert_array_equal(batch.search_policies[0], expected)
    assert batch.actions.tolist() == [[1, 1]]
    (_, shape) = batch_spec(VECTORS, Config(agent=agent))["policies"]
    assert shape[1:] == (3, 5)
