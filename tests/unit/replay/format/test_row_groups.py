"""Groups of columns that only some environments need: masks, players, continuous actions."""

import dataclasses

import numpy as np
import pytest

from efficientzero.config import AgentConfig
from efficientzero.schema import Ending, EnvSpec, PolicyShape, ReplayStep, Shown
from replay.format.row_layout import RowLayout, flags_of_words, words_of_flags
from replay.format.slice_codec import SliceCodec
from replay.tables import (
    TRAJECTORIES,
    TRAJECTORIES_WITH_GROUPS,
    TRAJECTORIES_WITH_MOVERS,
    trajectories_table,
)
from tests.support.cases.replay_cases import VECTORS

AGENT = AgentConfig(num_unroll_steps=3, td_steps=2)
LENGTH = 9
MASKED = dataclasses.replace(VECTORS, num_actions=50, has_legal_actions=True)
GAME = dataclasses.replace(VECTORS, num_actions=7, has_legal_actions=True, num_players=2)
CONTINUOUS = dataclasses.replace(VECTORS, num_actions=0, action_kind="continuous", action_size=6)
SLOTS = 4


@pytest.mark.parametrize("num_actions", [1, 24, 25, 48, 432])
def test_flags_come_back_from_their_words(num_actions):
    flags = np.random.default_rng(0).random((40, num_actions)) < 0.5
    words = np.array([words_of_flags(row) for row in flags], np.float32)
    assert words.shape == (40, -(-num_actions // 24))
    np.testing.assert_array_equal(flags_of_words(words, num_actions), flags)


def test_a_word_has_24_flags_the_first_one_in_the_lowest_bit():
    flags = np.zeros(24, np.bool_)
    flags[[0, 2, 23]] = True
    assert words_of_flags(flags) == (8_388_613,)  # 1 + 4 + 2^23


@pytest.mark.parametrize(
    ("spec", "row_size"),
    [
        (VECTORS, 7 + 2),
        (MASKED, 7 + 3 + 50),
        (GAME, 7 + 1 + 1 + 7),
        (CONTINUOUS, 7 + 6 + SLOTS + SLOTS * 6),
    ],
)
def test_rows_hold_the_groups_that_the_environment_has(spec, row_size):
    assert RowLayout(spec, PolicyShape.of(spec, SLOTS)).row_size == row_size
    other = TRAJECTORIES if spec is VECTORS else TRAJECTORIES_WITH_GROUPS
    assert trajectories_table(spec) == other


def test_only_runs_with_a_pool_store_whose_weights_moved():
    policy = PolicyShape.of(GAME)
    without, layout = RowLayout(GAME, policy), RowLayout(GAME, policy, has_movers=True)
    assert layout.row_size == without.row_size + 1
    assert "mover" in layout.first
    assert "mover" not in without.first
    assert trajectories_table(GAME, has_movers=True) == TRAJECTORIES_WITH_MOVERS
    # A run without a pool packs the same bytes, whatever its steps say.
    rng = np.random.default_rng(4)
    steps, last = random_steps(GAME, rng)
    codec = SliceCodec(GAME, AGENT, frames_per_block=4)
    assert packed(codec, steps, last, steps[0].frame) == packed(
        codec, [step._replace(mover=5) for step in steps], last, steps[0].frame
    )


def random_steps(spec: EnvSpec, rng: np.random.Generator):
    """Return steps with every group of ``spec``, and what its closing row shows."""
    policy = PolicyShape.of(spec, SLOTS)
    legal = rng.random((LENGTH + 1, spec.num_actions)) < 0.3
    legal[:, :1] = True
    to_play = rng.integers(2, size=LENGTH + 1)
    steps = [
        ReplayStep(
            frame=rng.normal(size=spec.frame_shape).astype(np.float32),
            action=0,
            reward=float(t),
            search_policy=rng.dirichlet(np.ones(policy.width)).astype(np.float32),
            root_value=0.0,
            priority=1.0,
            weights_version=3,
            env_step=t,
            legal_actions=legal[t] if spec.has_legal_actions else None,
            to_play=int(to_play[t]) * (spec.num_players > 1),
            mover=(0, 3, 2**24)[t % 3] * (spec.num_players > 1),
            continuous_action=(
                rng.uniform(-1, 1, spec.action_size).astype(np.float32)
                if spec.action_size
                else None
            ),
            policy_actions=(
                rng.uniform(-1, 1, (policy.width, spec.action_size)).astype(np.float32)
                if spec.action_size
                else None
            ),
        )
        for t in range(LENGTH)
    ]
    last = {
        "legal_actions": legal[LENGTH] if spec.has_legal_actions else None,
        "to_play": int(to_play[LENGTH]) * (spec.num_players > 1),
    }
    return steps, last


def packed(codec, steps, last, frame):
    packer = codec.make_packer()
    blocks = []
    for t, step in enumerate(steps):
        if codec.pack_step(packer, step, position=t):
            blocks.append(packer.finish())
    codec.pack_ending(packer, Shown(frame, **last), Ending.TRUNCATED, position=len(steps))
    return [*blocks, packer.finish()]


@pytest.mark.parametrize("whole_behaviour", [False, True])
@pytest.mark.parametrize(
    ("spec", "has_movers"), [(MASKED, False), (GAME, False), (GAME, True), (CONTINUOUS, False)]
)
def test_groups_come_back_at_their_offsets_and_are_zero_past_the_end(
    spec, has_movers, whole_behaviour
):
    rng = np.random.default_rng(1)
    codec = SliceCodec(
        spec,
        AGENT,
        frames_per_block=4,
        sampled_actions=SLOTS,
        whole_behaviour=whole_behaviour,
        has_movers=has_movers,
    )
    steps, last = random_steps(spec, rng)
    blocks = packed(codec, steps, last, steps[0].frame)
    batch = codec.allocate(LENGTH)
    for t in range(LENGTH):
        ((_, wanted, place),) = codec.windows(range(t, t + 1), last_row=LENGTH)
        codec.decode_into(batch, t, blocks=blocks[wanted.start : wanted.stop], place=place)
    num_policies = 6 if whole_behaviour else 4
    stored = {"search_policies": ([step.search_policy for step in steps], num_policies)}
    if spec.has_legal_actions:
        masks = [*(step.legal_actions for step in steps), last["legal_actions"]]
        stored["legal_actions"] = (masks, 6)
    if spec.num_players > 1:
        stored["to_play"] = ([*(step.to_play for step in steps), last["to_play"]], 6)
    if has_movers:
        stored["movers"] = ([step.mover for step in steps], num_policies)
    if spec.action_size:
        actions = [step.continuous_action for step in steps]
        stored["continuous_actions"] = (actions, num_policies)
        stored["policy_actions"] = ([step.policy_actions for step in steps], num_policies)
    for name, (rows, count) in stored.items():
        nothing = np.zeros_like(rows[0])
        for t in range(LENGTH):
            wanted = [*rows[t : t + count], *[nothing] * count][:count]
            np.testing.assert_array_equal(getattr(batch, name)[t], wanted, err_msg=name)
    for name in {"legal_actions", "to_play", "movers", "continuous_actions"} - stored.keys():
        assert not getattr(batch, name).size


def test_a_step_without_its_mask_is_not_packed():
    codec = SliceCodec(MASKED, AGENT, frames_per_block=4)
    (step, *_), _ = random_steps(MASKED, np.random.default_rng(2))
    with pytest.raises(ValueError, match=r"legal actions: got none, wanted bool \[50\]"):
        codec.pack_step(codec.make_packer(), step._replace(legal_actions=None), position=0)


def test_a_stored_step_without_a_legal_action_is_refused():
    codec = SliceCodec(MASKED, AGENT, frames_per_block=16)
    steps, last = random_steps(MASKED, np.random.default_rng(3))
    steps[2] = steps[2]._replace(legal_actions=np.zeros(50, np.bool_))
    (block,) = packed(codec, steps, last, steps[0].frame)
    with pytest.raises(ValueError, match="legal actions: got none of a step"):
        codec.decode_into(codec.allocate(1), 0, blocks=[block], place=0)
