"""Loss inputs: which frames belong to which step, and which augmentation each of them gets."""

import numpy as np
import pytest
import torch

from efficientzero.envs import probe_env_spec
from efficientzero.process.runtime import seed_sequence
from learner.batches.loader import BatchLoader
from replay.format import BATCH_FIELDS
from tests.support.cases.loss_cases import changed
from tests.support.fakes import tiny_config
from tests.support.training_batches import training_batch

CPU = torch.device("cpu")
BOTH = {"augmentation": True, "shift_pixels": 2, "intensity_scale": 0.05}


def loader_of(config, device=CPU):
    seeds = seed_sequence(config.seed, "learner", 0, 1)
    return BatchLoader(config, probe_env_spec(config.env), device, seeds)


def load(loader, batch, train_step):
    return loader.load(loader.send(batch), train_step)


def with_learner(independent=False, **learner):
    config = changed(tiny_config(), learner={"independent_augmentation": independent})
    return changed(config, learner=learner)


@pytest.mark.parametrize("independent", [False, True])
def test_loss_input_aligns_each_step_with_its_observation(independent):
    config = with_learner(independent, augmentation=True, shift_pixels=0, intensity_scale=0.0)
    batch = training_batch(config)
    inputs = load(loader_of(config), batch, 0)
    stacked = config.env.num_stacked_frames
    for b in range(config.learner.batch_size):
        root = np.concatenate(list(batch.frames[b, :stacked]))
        np.testing.assert_array_equal(inputs.root_observations[b], root)
        for k in range(config.agent.num_unroll_steps):
            following = np.concatenate(list(batch.frames[b, k + 1 : k + 1 + stacked]))
            np.testing.assert_array_equal(inputs.next_observations[b, k], following)
    shares = (batch.table_sizes * batch.probabilities) ** -config.replay.importance_exponent
    np.testing.assert_allclose(inputs.importance_weights, shares / shares.max(), rtol=1e-5)


def test_what_is_marked_as_sent_is_sent_and_arrives_at_the_loss_under_its_name():
    config = tiny_config()
    batch, loader = training_batch(config), loader_of(config)
    sent = loader.send(batch)
    assert set(sent.fields) == {name for name, field in BATCH_FIELDS.items() if field.is_sent}
    inputs = loader.load(sent, 0)
    for name in ("actions", "value_prefixes", "values", "policies"):
        np.testing.assert_array_equal(getattr(inputs, name), getattr(batch, name))
    np.testing.assert_array_equal(inputs.mask, batch.action_mask)


def newest_root_and_same_frame_among_the_next(config, inputs):
    """Return frame t as the root's newest and as the first step's second newest, [B, C, H, W]."""
    channels = probe_env_spec(config.env).frame_shape[0]
    root = inputs.root_observations[:, -channels:]
    following = inputs.next_observations[:, 0, -2 * channels : -channels]
    return root.float(), following.float()


def test_all_frames_of_a_slice_share_one_shift_and_factor_by_default():
    config = with_learner(**BOTH)
    batch = training_batch(config)
    root, following = newest_root_and_same_frame_among_the_next(
        config, load(loader_of(config), batch, 0)
    )
    assert torch.equal(root, following)
    assert not torch.equal(root, torch.from_numpy(batch.frames[:, 1]).float() / 255)


@pytest.mark.parametrize("kind", [{"intensity_scale": 0.0}, {"shift_pixels": 0}, {}])
def test_independent_augmentation_treats_the_next_frames_otherwise_than_the_root(kind):
    config = with_learner(independent=True, **{**BOTH, **kind})
    inputs = load(loader_of(config), training_batch(config), 0)
    root, following = newest_root_and_same_frame_among_the_next(config, inputs)
    assert not torch.equal(root, following)


def test_independent_augmentation_is_one_for_the_whole_window_of_next_frames():
    config = with_learner(independent=True, **BOTH)
    inputs = load(loader_of(config), training_batch(config), 0)
    channels = probe_env_spec(config.env).frame_shape[0]
    for k in range(1, config.agent.num_unroll_steps):
        as_newest = inputs.next_observations[:, k - 1, -channels:]
        as_second_newest = inputs.next_observations[:, k, -2 * channels : -channels]
        assert torch.equal(as_newest, as_second_newest)


def test_root_is_augmented_alike_with_and_without_independent_next_frames():
    loaded = []
    for independent in (False, True):
        config = with_learner(independent, **BOTH)
        loader, batch = loader_of(config), training_batch(config)
        load(loader, batch, 0)
        loaded.append(load(loader, batch, 1).root_observations)
    assert torch.equal(*loaded)


@pytest.mark.parametrize("independent", [False, True])
def test_without_consistency_no_next_frame_is_moved_or_stacked_and_the_root_is_the_same(
    independent, monkeypatch
):
    roots, shipped = [], []
    original = BatchLoader._to_device
    monkeypatch.setattr(
        BatchLoader,
        "_to_device",
        lambda self, array: shipped.append(array.shape) or original(self, array),
    )
    for coefficient in (2.0, 0.0):
        config = with_learner(independent, consistency_coefficient=coefficient, **BOTH)
        inputs = load(loader_of(config), training_batch(config), 0)
        roots.append(inputs.root_observations)
        assert (inputs.next_observations is None) == (coefficient == 0)
        frames = next(shape for shape in shipped if len(shape) == 5)
        steps = config.agent.num_unroll_steps if coefficient else 0
        assert frames[1] == config.env.num_stacked_frames + steps
        shipped.clear()
    assert torch.equal(*roots)


def test_frames_that_are_vectors_are_never_augmented():
    config = changed(tiny_config(id="CartPole-v1"), learner=BOTH)
    batch = training_batch(config)
    loader = loader_of(config)
    before = loader.state_dict()
    inputs = load(loader, batch, 0)
    stacked = batch.frames[:, : config.env.num_stacked_frames].reshape(len(batch.frames), -1)
    np.testing.assert_array_equal(inputs.root_observations, stacked)
    after = loader.state_dict()
    for window in before:
        for name, state in before[window].items():
            assert torch.equal(state, after[window][name])
