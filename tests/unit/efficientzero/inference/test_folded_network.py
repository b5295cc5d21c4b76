"""The folded network against the one it stands for: same answers, never from old weights."""

import dataclasses

import pytest
import torch

from efficientzero.config.fields import NetworkConfig
from efficientzero.inference.cpu import _kernels
from efficientzero.inference.cpu.folded_layers import FoldedConv, FoldedLayer, PackedLstmCell
from efficientzero.inference.cpu.folded_network import FoldedNetwork
from efficientzero.inference.node_pools import NUM_INDEX_ROWS
from efficientzero.inference.search_network import LatentPool, SearchNetwork
from efficientzero.schema import EnvSpec
from tests.support.networks import sized_network, tensors_of

VECTOR = EnvSpec(
    env_id="v", frame_shape=(4,), frame_dtype="float32", num_actions=3, num_stacked_frames=1
)
SMALL_IMAGE = EnvSpec(
    env_id="s", frame_shape=(2, 10, 7), frame_dtype="uint8", num_actions=4, num_stacked_frames=2
)
ATARI = EnvSpec(
    env_id="a", frame_shape=(3, 96, 96), frame_dtype="uint8", num_actions=18, num_stacked_frames=4
)
NARROW = NetworkConfig(
    channels=12,
    reduced_channels=5,
    mlp_latent_size=16,
    mlp_hidden_size=24,
    lstm_hidden_size=12,
    projector_hidden_size=16,
    projection_size=16,
    predictor_hidden_size=8,
    support_bound=5,
    zero_init_heads=False,
)
WIDE = dataclasses.replace(NARROW, channels=64, num_blocks=2, lstm_hidden_size=32)
IS_QUICK = _kernels.INSTRUCTION_SET != "portable"
TOLERANCE = {"rtol": 1e-3, "atol": 1e-4}


def build(spec, config=NARROW, *, value_prefix=True, seed=0):
    """Return a network whose norms are not the identity."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = sized_network(config, spec, value_prefix=value_prefix).eval()
        for name, tensor in network.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2.0)
            elif "norm" in name or name.endswith("running_mean"):
                tensor.add_(0.2 * torch.randn(tensor.shape)) if tensor.is_floating_point() else None
    return network


def observations_for(spec, batch):
    generator = torch.Generator().manual_seed(batch)
    shape = (batch, *spec.observation_shape)
    if spec.is_image:
        return torch.randint(0, 256, shape, generator=generator).to(torch.uint8)
    return torch.randn(shape, generator=generator)


@torch.inference_mode()
def answers(network, spec, batch):
    generator = torch.Generator().manual_seed(1)
    root = network.initial_inference(observations_for(spec, batch))
    states = torch.rand((batch, 2, network.lstm_hidden_size), generator=generator)
    actions = torch.randint(0, spec.num_actions, (batch,), generator=generator)
    return tensors_of(root, network.recurrent_inference(root.latents, states, actions))


def assert_close(got, wanted):
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a.contiguous(), b.contiguous(), **TOLERANCE)


@pytest.mark.parametrize("value_prefix", [True, False])
@pytest.mark.parametrize(
    ("spec", "config", "batch"),
    [
        (VECTOR, NARROW, 1),
        (VECTOR, NARROW, 5),
        (SMALL_IMAGE, NARROW, 1),
        (SMALL_IMAGE, NARROW, 40),
        (SMALL_IMAGE, WIDE, 1),
        (SMALL_IMAGE, WIDE, 40),
        (SMALL_IMAGE, WIDE, 150),
        (ATARI, NARROW, 1),
        (ATARI, WIDE, 2),
        (ATARI, WIDE, 33),
    ],
)
def test_folded_answers_are_the_networks_own(spec, config, batch, value_prefix):
    network = build(spec, config, value_prefix=value_prefix)
    folded = FoldedNetwork(network).network
    assert_close(answers(folded, spec, batch), answers(network, spec, batch))


@pytest.mark.parametrize(
    ("side", "factor"), [(11, 2), (13, 2), (24, 4), (32, 8), (48, 8), (50, 32)]
)
@pytest.mark.parametrize("config", [NARROW, WIDE])
def test_folded_answers_are_the_networks_own_for_every_number_of_strides(side, factor, config):
    spec = dataclasses.replace(SMALL_IMAGE, frame_shape=(2, side, side + 1))
    network = build(spec, dataclasses.replace(config, downsample=factor))
    folded = FoldedNetwork(network).network
    assert_close(answers(folded, spec, 3), answers(network, spec, 3))


def test_networks_above_take_both_kinds_of_convolution_and_of_lstm():
    wide = FoldedNetwork(build(SMALL_IMAGE, WIDE)).network
    narrow = FoldedNetwork(build(SMALL_IMAGE)).network
    assert isinstance(wide.dynamics.conv, FoldedConv)
    assert [net.dynamics.conv.uses_winograd for net in (wide, narrow)] == [IS_QUICK, False]
    packed = [isinstance(net.value_prefix_head.lstm, PackedLstmCell) for net in (wide, narrow)]
    assert packed == [IS_QUICK, False]


def test_no_norm_is_left_to_compute():
    folded = FoldedNetwork(build(ATARI)).network
    left = [m for m in folded.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    assert not left


def change_by_loading(network, spec, config):
    network.load_inference_state_dict(build(spec, config, seed=7).inference_state_dict())


def change_in_inference_mode(network, spec, config):
    with torch.inference_mode():
        change_by_loading(network, spec, config)


def change_by_training(network, spec, config):
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    root = network.initial_inference(observations_for(spec, 4))
    sum(x.square().mean() for x in tensors_of(root)).backward()
    optimizer.step()
    network.eval()


def change_running_statistics(network, spec, config):
    network.train()
    with torch.no_grad():
        network.initial_inference(observations_for(spec, 4))
    network.eval()


@pytest.mark.parametrize(
    "change",
    [
        change_by_loading,
        change_in_inference_mode,
        change_by_training,
        change_running_statistics,
    ],
)
@pytest.mark.parametrize("config", [NARROW, WIDE])
def test_whatever_changes_the_weights_is_seen_at_the_next_refresh(change, config):
    network = build(SMALL_IMAGE, config)
    folded = FoldedNetwork(network)
    before = answers(folded.network, SMALL_IMAGE, 40)
    change(network, SMALL_IMAGE, config)
    folded.refresh()
    after = answers(folded.network, SMALL_IMAGE, 40)
    assert_close(after, answers(network, SMALL_IMAGE, 40))
    assert not torch.allclose(after[0], before[0], **TOLERANCE)


def test_weights_that_stay_are_not_derived_again(monkeypatch):
    network = build(SMALL_IMAGE)
    folded = FoldedNetwork(network)
    layers = [m for m in folded.network.modules() if isinstance(m, FoldedLayer)]
    refreshed = []
    for layer in layers:
        monkeypatch.setattr(layer, "refresh", lambda: refreshed.append(1))
    folded.refresh()
    assert not refreshed
    change_by_loading(network, SMALL_IMAGE, NARROW)
    folded.refresh()
    folded.refresh()
    assert len(refreshed) == len(layers) > 0


def test_a_network_that_cannot_report_changes_is_refused():
    with torch.inference_mode():
        network = build(VECTOR)
    with pytest.raises(ValueError, match="built in inference mode"):
        FoldedNetwork(network)


@torch.inference_mode()
def pool_numbers(network, pool, spec, batch):
    """Return the numbers of a chain of steps, some of which restart the LSTM."""
    pool.write_roots(network.initial_inference(observations_for(spec, batch)).latents)
    generator = torch.Generator().manual_seed(2)
    numbers = []
    for node in range(1, 5):
        indices = torch.empty((NUM_INDEX_ROWS, batch), dtype=torch.int32)
        indices[0] = torch.randint(0, node, (batch,), generator=generator)
        indices[1] = torch.randint(0, spec.num_actions, (batch,), generator=generator)
        indices[2] = torch.randint(0, 2, (batch,), generator=generator)
        indices[3] = node
        numbers.append(pool.step(indices, node).clone())
    return torch.stack(numbers)


@pytest.mark.parametrize("value_prefix", [True, False])
@pytest.mark.parametrize(
    ("spec", "config", "batch"),
    [
        (VECTOR, NARROW, 1),
        (VECTOR, NARROW, 4),
        (SMALL_IMAGE, NARROW, 3),
        (SMALL_IMAGE, WIDE, 1),
        (SMALL_IMAGE, WIDE, 20),
    ],
)
def test_recorded_steps_equal_eager_ones_and_follow_new_weights(spec, config, batch, value_prefix):
    network = build(spec, config, value_prefix=value_prefix)
    pools = []
    for backend in ("eager", "folded"):
        searched = SearchNetwork(network, backend=backend, precision="auto", batch_size=batch)
        pools.append((searched, LatentPool(searched, batch, num_nodes=5)))
    first = [pool_numbers(*pool, spec, batch) for pool in pools]
    torch.testing.assert_close(*first, **TOLERANCE)
    newer = build(spec, config, value_prefix=value_prefix, seed=7)
    network.load_inference_state_dict(newer.inference_state_dict())
    second = [pool_numbers(*pool, spec, batch) for pool in pools]
    torch.testing.assert_close(*second, **TOLERANCE)
    assert not torch.allclose(first[1], second[1], **TOLERANCE)
