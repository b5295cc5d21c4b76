"""No action that an actor plays or stores is illegal, whatever chooses it."""

import dataclasses

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from actor.actions import LegalShares
from actor.actor import Actor
from efficientzero.config import config_from_dict
from efficientzero.envs import make_env_batch
from efficientzero.networks import make_network
from efficientzero.process.runtime import StopSignal
from efficientzero.schema import Shown
from efficientzero.search import make_planner
from replay.format.slice_codec import SliceCodec
from tests.support.fakes import FakeRunClient, FakeWeights, MemoryTracker, RecordingWriter
from tests.support.masked_envs import LENGTH, MaskedEnv

BUDGET = 4 * (3 * LENGTH + 2)  # the last episodes are cut
CPU = torch.device("cpu")
CHOICES = [
    {"search.algorithm": "puct"},
    {"search.algorithm": "gumbel"},
    {"actor.action_rule": "epsilon_greedy"},
    {"actor.action_rule": "policy", "search.improved_policy": "completed_q"},
    {"agent.value_function": "action", "learner.target_network": "local"},
    {
        "agent.value_function": "action",
        "actor.action_rule": "epsilon_greedy",
        "learner.policy_coefficient": 0.0,
        "search.num_simulations": 0,
    },
]


@pytest.fixture(scope="module", autouse=True)
def _masked():
    gymnasium.register("Masked-v0", MaskedEnv)
    yield
    del gymnasium.registry["Masked-v0"]


def config_of(fields):
    values = {
        "env": {"id": "Masked-v0", "num_stacked_frames": 2, "clip_rewards": False},
        "network": {"mlp_latent_size": 8, "mlp_hidden_size": 8, "zero_init_heads": False},
        "search": {"num_simulations": 5},
        "actor": {"num_envs": 4},
        "cluster": {"metrics_interval_seconds": 1e-9},
        "agent": {"num_unroll_steps": 3, "td_steps": 2, "value_prefix_horizon": 3},
        "learner": {"batch_size": 8},
        "budget": {"env_steps": BUDGET, "warmup_env_steps": 20, "train_steps": 20},
    }
    for key, value in fields.items():
        section, name = key.split(".")
        values.setdefault(section, {})[name] = value
    return config_from_dict(values)


def play(config, seed):
    """Return what an actor has written, the number of warm-up's env_steps being 20."""
    envs = make_env_batch(config, seeds=range(seed, seed + 4), purpose="training")
    torch.manual_seed(seed)
    network = make_network(config, envs.spec, training=False).eval()
    planner = make_planner(
        config,
        envs.spec,
        network,
        batch_size=4,
        device=CPU,
        generator=np.random.default_rng(seed),
    )
    weights = FakeWeights(network.inference_state_dict())
    weights.publish(network.inference_state_dict(), 5)
    writers = [RecordingWriter(envs.spec) for _ in range(4)]
    tracker = MemoryTracker()
    Actor(
        config,
        index=0,
        envs=envs,
        network=network,
        planner=planner,
        weights=weights,
        writers=writers,
        run_client=FakeRunClient(budget=BUDGET, warmup=20),
        tracker=tracker,
        generator=np.random.default_rng(seed),
        stop=StopSignal(),
    ).run()
    return envs.spec, [episode for writer in writers for episode in writer.episodes], tracker


@settings(deadline=None, max_examples=12)
@given(
    seed=st.integers(0, 1_000),
    fields=st.sampled_from(CHOICES),
    random_share=st.sampled_from([0.0, 0.5]),
    repeats=st.booleans(),
)
def test_nothing_illegal_is_played_or_stored(seed, fields, random_share, repeats):
    more = {"actor.random_action_share": random_share, "actor.random_action_repeat": repeats}
    config = config_of(fields | more)
    spec, episodes, _ = play(config, seed)
    assert sum(len(episode.steps) for episode in episodes) == BUDGET
    codec = SliceCodec(spec, config.agent, frames_per_block=32, whole_behaviour=True)
    for episode in episodes:
        packer = codec.make_packer()
        for t, step in enumerate(episode.steps):
            assert step.legal_actions[step.action]
            assert not step.search_policy[~step.legal_actions].any()
            codec.pack_step(packer, step, position=t)
        last = episode.last_legal_actions
        shown = Shown(episode.last_frame, last)
        codec.pack_ending(packer, shown, episode.ending, position=t + 1)
        batch = codec.allocate(1)
        codec.decode_into(batch, 0, blocks=[packer.finish()], place=0)
        masks = [*(step.legal_actions for step in episode.steps), last][:6]
        np.testing.assert_array_equal(batch.legal_actions[0, : len(masks)], masks)


def test_masks_are_those_that_the_environment_showed_with_the_frame():
    config = config_of({})
    _, episodes, tracker = play(config, 0)
    env = MaskedEnv()
    frame, _ = env.reset(seed=0)
    for step in episodes[0].steps:
        np.testing.assert_array_equal(step.frame, frame)
        np.testing.assert_array_equal(step.legal_actions, env.mask)
        frame, *_ = env.step(step.action)
    row = next(row for row in tracker.rows if "actor/legal_share" in row)
    assert 0.2 < row["actor/legal_share"] < 1 and 0 <= row["actor/forced_share"] < 1


def test_shares_of_legal_actions_by_hand():
    shares = LegalShares()
    shares.add(None)
    assert shares.take_row() == {}
    shares.add(np.array([[1, 0, 0, 0], [1, 1, 1, 0]], np.bool_))
    assert shares.take_row() == {"actor/legal_share": 0.5, "actor/forced_share": 0.5}
    assert shares.take_row() == {}


def test_without_masks_illegal_actions_are_the_environments_to_punish():
    fields = dataclasses.replace(config_of({}).env, legal_actions="off")
    config = dataclasses.replace(config_of({}), env=fields)
    with pytest.raises(Exception, match="an illegal action"):
        play(config, 0)
