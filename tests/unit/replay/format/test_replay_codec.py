import dataclasses
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efficientzero.blocks import _blocks
from efficientzero.config.fields import AgentConfig, Config, LearnerConfig
from efficientzero.schema import Ending, PolicyShape, Shown
from replay.format.batch_codec import batch_spec, decode_batch, encode_batch
from replay.format.row_layout import RowLayout
from replay.format.slice_codec import SliceCodec
from replay.steps.priorities import MAX_PRIORITY, MIN_PRIORITY, clip_priorities, clip_priority
from replay.tables import TRAJECTORIES
from tests.support.cases.replay_cases import (
    IMAGES,
    VECTORS,
    assert_same_training_batch,
    assert_slice_equals,
    random_episode,
    random_training_batch,
    window,
)

WIDE = dataclasses.replace(IMAGES, env_id="wide", frame_shape=(3, 5, 16))
"""Rows of whole lines, so that a block's first frame is told by what differs from the row above."""
ENDINGS = st.sampled_from([Ending.TERMINATED, Ending.TRUNCATED])


def test_columns_of_rows_are_those_of_replays_that_are_stored():
    assert TRAJECTORIES == "trajectories_4", "another layout needs another name"
    names = "action, reward, root value, ending, weights_version, position, env_step, search policy"
    spec = dataclasses.replace(VECTORS, num_actions=3)
    layout = RowLayout(spec, PolicyShape.of(spec))
    assert layout.first == {name: column for column, name in enumerate(names.split(", "))}
    assert layout.columns("search policy") == slice(7, layout.row_size) == slice(7, 10)


def blocks_of(codec, episode):
    """Pack a whole episode."""
    packer, blocks = codec.make_packer(), []
    for t in range(len(episode)):
        if codec.pack_step(packer, episode.step(t), position=t):
            blocks.append(packer.finish())
    codec.pack_ending(packer, Shown(episode.frames[-1]), episode.ending, position=len(episode))
    return [*blocks, packer.finish()]


def stored_item(codec, episode, t):
    """Pack a whole episode and return what the item of step ``t`` refers to."""
    blocks = blocks_of(codec, episode)
    ((steps, wanted, place),) = codec.windows(range(t, t + 1), last_row=len(episode))
    assert steps == range(t, t + 1)
    assert 0 <= place < codec.num_places
    return blocks[wanted.start : wanted.stop], place


@settings(deadline=None, max_examples=150)
@given(
    length=st.integers(1, 40),
    ending=ENDINGS,
    block_length=st.integers(1, 9),
    unroll=st.integers(1, 6),
    td=st.integers(1, 6),
    spec=st.sampled_from([IMAGES, VECTORS, WIDE]),
    whole=st.booleans(),
    data=st.data(),
)
def test_a_decoded_item_is_the_padded_window(
    *, length, ending, block_length, unroll, td, spec, whole, data
):
    agent = AgentConfig(num_unroll_steps=unroll, td_steps=td)
    codec = SliceCodec(spec, agent, frames_per_block=block_length, whole_behaviour=whole)
    rng = np.random.default_rng(length)
    episode = random_episode(spec, rng, number=1, length=length, ending=ending)
    t = data.draw(st.integers(0, length - 1))
    blocks, place = stored_item(codec, episode, t)

    batch = codec.allocate(3)
    for array in batch:
        array.fill(77)
    codec.decode_into(batch, 1, blocks=blocks, place=place)

    assert_slice_equals(batch, 1, window(episode, t, spec, agent, whole_behaviour=whole))
    assert (batch.frames[0] == 77).all()
    assert (batch.root_values[2] == 77).all()


@settings(deadline=None, max_examples=150)
@given(
    block_length=st.integers(1, 9),
    td=st.integers(1, 9),
    num_stacked=st.integers(1, 4),
    last_row=st.integers(1, 40),
    data=st.data(),
)
def test_neighbours_share_blocks_exactly_as_long_as_each_alone_would_want_them(
    *, block_length, td, num_stacked, last_row, data
):
    spec = dataclasses.replace(IMAGES, num_stacked_frames=num_stacked)
    agent = AgentConfig(num_unroll_steps=1, td_steps=td)
    codec = SliceCodec(spec, agent, frames_per_block=block_length)
    start = data.draw(st.integers(0, last_row))
    together = [
        (position, blocks, first_place + i)
        for steps, blocks, first_place in codec.windows(range(start, last_row), last_row=last_row)
        for i, position in enumerate(steps)
    ]

    assert [position for position, _, _ in together] == list(range(start, last_row))
    for position, blocks, place in together:
        first_frame, last_frame = (
            max(0, position - num_stacked + 1),
            min(position + 1 + td, last_row),
        )
        assert blocks == range(first_frame // block_length, last_frame // block_length + 1)
        assert place == position - blocks.start * block_length < codec.num_places


def test_an_episode_that_ends_at_the_windows_last_row_is_not_taken_for_one_that_goes_on():
    agent = AgentConfig(num_unroll_steps=2, td_steps=3)
    codec = SliceCodec(VECTORS, agent, frames_per_block=8)
    batch = codec.allocate(2)
    for i, length in enumerate((5, 6)):
        rng = np.random.default_rng(0)
        episode = random_episode(VECTORS, rng, number=i, length=length, ending=Ending.TERMINATED)
        blocks, place = stored_item(codec, episode, 0)
        codec.decode_into(batch, i, blocks=blocks, place=place)
    assert batch.steps_left.tolist() == [5, 6]
    assert batch.endings.tolist() == [Ending.TERMINATED, Ending.RUNNING]


def episode_of(spec, *, length, seed=0):
    rng = np.random.default_rng(seed)
    return random_episode(spec, rng, number=0, length=length, ending=Ending.TERMINATED)


def test_a_block_of_another_run_is_refused():
    blocks, place = stored_item(
        SliceCodec(IMAGES, AgentConfig(), frames_per_block=8), episode_of(IMAGES, length=20), 6
    )
    codec = SliceCodec(VECTORS, AgentConfig(), frames_per_block=8)
    with pytest.raises(ValueError, match=r"block: got \d+ bytes, wanted at most 548"):
        codec.decode_into(codec.allocate(1), 0, blocks=blocks, place=place)


def test_a_window_with_missing_blocks_is_refused():
    codec = SliceCodec(VECTORS, AgentConfig(), frames_per_block=8)
    blocks, place = stored_item(codec, episode_of(VECTORS, length=40), 10)
    assert len(blocks) == 2
    for kept, message in (
        (blocks[:1], "rows of a window in 1 blocks: got 6, wanted 11 or an ending"),
        (blocks[1:], "rows of a window in 1 blocks: got 6, wanted 11 or an ending"),
        (blocks[::-1], "positions in 2 blocks: got .*, wanted one by one"),
    ):
        with pytest.raises(ValueError, match=message):
            codec.decode_into(codec.allocate(1), 0, blocks=kept, place=place - 8 * (10 // 8) + 8)


@pytest.mark.parametrize("spec", [IMAGES, VECTORS])
def test_damaged_blocks_give_an_error_or_a_window_and_never_more(spec):
    codec = SliceCodec(spec, AgentConfig(), frames_per_block=8)
    blocks, place = stored_item(codec, episode_of(spec, length=30), 9)
    rng, batch, num_refused = np.random.default_rng(0), codec.allocate(1), 0
    for _ in range(150):
        damaged = [bytearray(block) for block in blocks]
        victim = damaged[rng.integers(len(damaged))]
        for place_in_block in rng.integers(len(victim), size=rng.integers(1, 4)):
            victim[place_in_block] = rng.integers(256)
        if rng.random() < 0.3:
            del victim[rng.integers(len(victim)) :]
        try:
            with np.errstate(invalid="ignore"):  # actions that are no numbers
                codec.decode_into(batch, 0, blocks=[bytes(b) for b in damaged], place=place)
        except ValueError:
            num_refused += 1
    assert num_refused > 30


@pytest.mark.parametrize(("width", "num_lines"), [(16, 2), (20, 60)])
def test_a_picture_of_stripes_is_one_row_if_rows_are_whole_lines(width, num_lines):
    spec = dataclasses.replace(IMAGES, frame_shape=(3, 8, width))
    codec = SliceCodec(spec, AgentConfig(), frames_per_block=4)

    def num_bytes(frame):
        packer = codec.make_packer()
        packer.add(frame, (0,) * 7, np.zeros(spec.num_actions, np.float32))
        return len(_blocks.BlockPacker.finish(packer))  # not compressed

    frame = np.zeros(spec.frame_shape, np.uint8)
    empty = num_bytes(frame)
    frame[:] = np.arange(1, width + 1)
    assert num_bytes(frame) - empty == 8 * num_lines


def test_a_frame_of_another_environment_is_refused():
    packer = SliceCodec(VECTORS, AgentConfig(), frames_per_block=8).make_packer()
    with pytest.raises(ValueError, match=r"frame: got float64 \(5,\), wanted float32 \(5,\)"):
        packer.add(np.zeros(5), (0,) * 7, np.zeros(2, np.float32))


def test_a_row_of_another_length_is_refused_and_leaves_the_block_as_it_was():
    packer = SliceCodec(VECTORS, AgentConfig(), frames_per_block=1).make_packer()
    frame, policy = np.zeros(5, np.float32), np.zeros(VECTORS.num_actions, np.float32)
    with pytest.raises(ValueError, match="row: got 8 numbers, wanted 9"):
        packer.add(frame, (0,) * 6, policy)
    with pytest.raises(TypeError):
        packer.add(frame, (0, "1", *(0,) * 5), policy)
    assert packer.add(frame, (0,) * 7, policy)
    with pytest.raises(ValueError, match="steps of a block: got one more"):
        packer.add(frame, (0,) * 7, policy)


def test_a_version_that_float32_cannot_hold_is_refused():
    codec = SliceCodec(VECTORS, AgentConfig(), frames_per_block=8)
    rng = np.random.default_rng(0)
    episode = random_episode(VECTORS, rng, number=0, length=1, ending=Ending.TERMINATED)
    step = episode.step(0)._replace(weights_version=2**24 + 1)
    with pytest.raises(ValueError, match="weights_version and position: got 16777217 and 0"):
        codec.pack_step(codec.make_packer(), step, position=0)


@pytest.mark.parametrize("spec", [IMAGES, VECTORS])
def test_a_training_batch_comes_back_bit_by_bit_and_writable(spec):
    config = Config(learner=LearnerConfig(batch_size=7))
    batch = random_training_batch(spec, config, seed=1)
    decoded = decode_batch(encode_batch(batch), batch_spec(spec, config))
    assert_same_training_batch(decoded, batch)


def test_a_training_batch_from_before_a_field_that_the_run_lacks_is_read():
    config = Config(learner=LearnerConfig(batch_size=7))
    batch = random_training_batch(VECTORS, config, seed=1)

    assert batch.bootstrap_offsets.size == 0
    fields = {k: v for k, v in batch._asdict().items() if not k.startswith("bootstrap_")}
    older = NamedTuple("Older", [(name, Any) for name in fields])(**fields)
    decoded = decode_batch(encode_batch(older), batch_spec(VECTORS, config))
    assert_same_training_batch(decoded, batch)
    local = Config(learner=LearnerConfig(batch_size=7, target_network="local"))
    with pytest.raises(ValueError, match="frames: got"):
        decode_batch(encode_batch(batch), batch_spec(VECTORS, local))


def test_a_training_batch_of_another_size_is_refused():
    config = Config(learner=LearnerConfig(batch_size=7))
    encoded = encode_batch(random_training_batch(VECTORS, config, seed=1))
    wanted = batch_spec(VECTORS, Config(learner=LearnerConfig(batch_size=8)))
    with pytest.raises(ValueError, match=r"frames: got .*\(7, 7, 5\).*, wanted .*\(8, 7, 5\)"):
        decode_batch(encoded, wanted)


@pytest.mark.parametrize("spec", [IMAGES, VECTORS])
def test_a_training_batch_with_damaged_bytes_is_refused_wherever_they_are(spec):
    config = Config(learner=LearnerConfig(batch_size=7))
    encoded = encode_batch(random_training_batch(spec, config, seed=1))
    wanted, rng = batch_spec(spec, config), np.random.default_rng(0)
    places = [*range(64), *rng.integers(len(encoded), size=200).tolist(), len(encoded) - 6]
    for place in places:
        damaged = bytearray(encoded)
        for near in range(place, min(place + 6, len(encoded))):
            damaged[near] ^= 0xA5
        with pytest.raises(ValueError, match=r"got CRC-32 0x\w+, wanted 0x\w+: damaged"):
            decode_batch(bytes(damaged), wanted)


@pytest.mark.parametrize("num_bytes", [0, 1, 7, 8, 100])
def test_a_training_batch_cut_short_is_refused(num_bytes):
    config = Config(learner=LearnerConfig(batch_size=7))
    encoded = encode_batch(random_training_batch(VECTORS, config, seed=1))
    with pytest.raises(ValueError, match=r"training batch.*: got"):
        decode_batch(encoded[:num_bytes], batch_spec(VECTORS, config))


def test_priorities_are_clipped_to_what_reverb_bears():
    raw = np.array([np.nan, np.inf, -np.inf, -1.0, 0.0, 0.5, 1e300])
    wanted = [
        MIN_PRIORITY,
        MAX_PRIORITY,
        MIN_PRIORITY,
        MIN_PRIORITY,
        MIN_PRIORITY,
        0.5,
        MAX_PRIORITY,
    ]
    assert clip_priorities(raw).tolist() == wanted


def test_one_priority_is_clipped_like_many():
    assert clip_priority(2.5) == 2.5
    assert clip_priority(float("nan")) == MIN_PRIORITY
    assert clip_priority(float("inf")) == MAX_PRIORITY
    assert clip_priority(-1.0) == MIN_PRIORITY
