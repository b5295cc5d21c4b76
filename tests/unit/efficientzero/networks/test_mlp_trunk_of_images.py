"""Images whose latents are vectors: the same network as for vectors, behind convolutions."""

import dataclasses
import math

import pytest
import torch
from torch import nn

from deploy.checks.process_memory import process_memory
from efficientzero.config.fields import Config, NetworkConfig
from efficientzero.config.files import ConfigError
from efficientzero.config.preset_files import load_preset
from efficientzero.config.validation import validate
from efficientzero.inference.cpu.folded_network import FoldedNetwork
from efficientzero.networks import make_network
from efficientzero.schema import EnvSpec
from learner.training.network import train_step_cost
from tests.support.networks import sized_network

SMALL = NetworkConfig(
    trunk="mlp",
    channels=6,
    mlp_latent_size=10,
    mlp_hidden_size=14,
    lstm_hidden_size=12,
    projector_hidden_size=8,
    projection_size=8,
    predictor_hidden_size=4,
    support_bound=5,
    zero_init_heads=False,
)


def images(height=10, width=7):
    return EnvSpec(
        env_id="s",
        frame_shape=(2, height, width),
        frame_dtype="uint8",
        num_actions=3,
        num_stacked_frames=2,
    )


def build(spec=None, *, seed=0, **fields):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = dataclasses.replace(SMALL, **fields)
        return sized_network(config, spec or images(), training=True)


def observations(spec, batch=5):
    shape = (batch, *spec.observation_shape)
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(1)).to(torch.uint8)


def unroll(network):
    root = network.initial_inference(observations(network.spec))
    step = network.recurrent_inference(
        root.latents, network.initial_lstm_states(5), torch.tensor([0, 1, 2, 0, 1])
    )
    return root, step


@pytest.mark.parametrize(
    ("size", "downsample", "cells"),
    [((10, 7), 0, 70), ((10, 7), 2, 20), ((20, 20), 4, 25), ((33, 40), 8, 25)],
)
def test_latents_are_vectors_at_every_size_of_images(size, downsample, cells):
    network = build(images(*size), downsample=downsample)
    assert network.latent_shape == (10,)
    linear = next(m for m in network.representation.modules() if isinstance(m, nn.Linear))
    assert linear.in_features == 6 * cells
    convolutions = [m for m in network.representation.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == max(1, int(math.log2(downsample or 1)))
    root, step = unroll(network)
    assert root.latents.shape == step.latents.shape == (5, 10)
    for latents in (root.latents, step.latents):
        torch.testing.assert_close(latents.mean(1), torch.zeros(5), rtol=0, atol=1e-5)
    assert network.project(step.latents, with_predictor=True).shape == (5, 8)


def test_every_pixel_and_every_action_counts():
    network = build()
    seen = torch.zeros(2 * 2 * 10 * 7)
    base = observations(network.spec, 1).float() / 255.0
    base.requires_grad_()
    network.initial_inference(base).latents.square().mul(torch.arange(10.0)).sum().backward()
    seen += base.grad.abs().flatten()
    assert (seen > 0).all()
    latents = network.initial_inference(observations(network.spec, 1)).latents.repeat(3, 1)
    step = network.recurrent_inference(latents, network.initial_lstm_states(3), torch.arange(3))
    assert len({tuple(row.tolist()) for row in step.latents}) == 3


def test_training_and_search_are_one_function_of_the_weights():
    network = build()
    assert network.root_prediction is None
    outside = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
    ]
    assert all(name.startswith(("projector.", "predictor.")) for name in outside)
    torch.testing.assert_close(unroll(network.train()), unroll(network.eval()))


def test_folded_answers_are_the_networks_own():
    network = build().eval()
    folded = FoldedNetwork(network)
    with torch.no_grad():
        torch.testing.assert_close(unroll(folded.network), unroll(network), rtol=1e-3, atol=1e-4)
        network.load_inference_state_dict(build(seed=3).inference_state_dict())
        folded.refresh()
        torch.testing.assert_close(unroll(folded.network), unroll(network), rtol=1e-3, atol=1e-4)


def test_a_train_step_of_boards_is_much_less_work():
    def operations(trunk):
        preset = load_preset("minatar")
        config = dataclasses.replace(
            preset, network=dataclasses.replace(preset.network, trunk=trunk)
        )
        with torch.random.fork_rng():
            network = make_network(config, images(10, 10), training=True)
        return train_step_cost(network, config).training

    assert operations("mlp") < operations("auto") / 4


def test_vectors_take_no_notice():
    spec = EnvSpec(
        env_id="s", frame_shape=(4,), frame_dtype="float32", num_actions=3, num_stacked_frames=1
    )
    assert build(spec).state_dict().keys() == build(spec, trunk="auto").state_dict().keys()
    for ours, other in zip(
        build(spec).parameters(), build(spec, trunk="auto").parameters(), strict=True
    ):
        assert torch.equal(ours, other)


def test_the_memory_that_is_planned_for_is_that_of_vectors():
    def actor(trunk):
        network = dataclasses.replace(Config().network, trunk=trunk)
        return process_memory(dataclasses.replace(Config(), network=network), images())["actor"]

    assert actor("mlp") < actor("auto")


def test_a_norm_that_nothing_would_have_is_refused():
    network = dataclasses.replace(Config().network, trunk="mlp", norm="layer")
    with pytest.raises(ConfigError, match=r"network\.norm: got layer with network\.trunk mlp"):
        validate(dataclasses.replace(Config(), network=network))
