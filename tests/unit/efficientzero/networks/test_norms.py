"""Which statistics a call is normalised with, and that weights stay one set."""

import dataclasses

import pytest
import torch
from torch import nn

from efficientzero.config.fields import NetworkConfig
from efficientzero.inference.cpu.folded_network import FoldedNetwork
from efficientzero.schema import EnvSpec
from tests.support.networks import sized_network

SPEC = EnvSpec(
    env_id="s", frame_shape=(2, 10, 7), frame_dtype="uint8", num_actions=4, num_stacked_frames=2
)
SMALL = NetworkConfig(
    channels=12,
    reduced_channels=5,
    lstm_hidden_size=12,
    support_bound=5,
    zero_init_heads=False,
)


def build(norm, *, seed=0, **fields):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = dataclasses.replace(SMALL, norm=norm, **fields)
        return sized_network(config, SPEC)


def observations(seed=0, batch=16):
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, *SPEC.observation_shape)
    return torch.randint(0, 256, shape, generator=generator).to(torch.uint8)


def unroll(network, seed=0, *, steps=3):
    """Return value logits of a root and of the steps from it."""
    root = network.initial_inference(observations(seed))
    latents, states = root.latents, network.initial_lstm_states(16)
    logits = [root.value_logits]
    for k in range(steps):
        step = network.recurrent_inference(latents, states, torch.full((16,), k))
        latents, states = step.latents, step.lstm_states
        logits.append(step.value_logits)
    return torch.stack(logits)


def trained(norm):
    """Return a network whose running statistics have met a hundred unrolls."""
    network = build(norm, batch_norm_momentum=0.2)
    with torch.no_grad():
        for seed in range(40):
            unroll(network, seed)
    return network


def gap(network):
    """Return the mean difference of root values' logits in evaluation and in training."""
    with torch.no_grad():
        in_training = network.train().initial_inference(observations(99)).value_logits
        # Training moved the statistics by one more batch, of the same kind.
        evaluated = network.eval().initial_inference(observations(99)).value_logits
    return (in_training - evaluated).abs().mean().item()


def test_kept_apart_a_roots_statistics_are_those_of_roots():
    assert gap(trained("batch_by_call")) < 0.5 * gap(trained("batch"))


def test_kept_apart_training_computes_the_same():
    torch.testing.assert_close(unroll(build("batch_by_call")), unroll(build("batch")))


def test_kept_apart_there_is_one_set_of_parameters():
    apart, together = build("batch_by_call"), build("batch")
    assert apart.root_prediction is not None
    assert [n for n, _ in apart.named_parameters()] == [n for n, _ in together.named_parameters()]
    more = apart.state_dict().keys() - together.state_dict().keys()
    assert together.state_dict().keys() <= apart.state_dict().keys()
    assert {name.rpartition(".")[2] for name in more} == {
        "running_mean",
        "running_var",
        "num_batches_tracked",
    }
    ours = dict(apart.root_prediction.named_parameters())
    for name, parameter in apart.prediction.named_parameters():
        assert ours[name] is parameter


@pytest.mark.parametrize("through", ["checkpoint", "publication"])
def test_kept_apart_both_sets_of_statistics_are_saved_and_loaded(through):
    source, target = trained("batch_by_call"), build("batch_by_call", seed=5)
    addresses = [p.data_ptr() for p in target.parameters()]
    if through == "checkpoint":
        target.load_state_dict(source.state_dict())
    else:
        target.load_inference_state_dict(source.inference_state_dict())
    assert [p.data_ptr() for p in target.parameters()] == addresses
    torch.testing.assert_close(unroll(target.eval()), unroll(source.eval()))


def test_moving_to_another_dtype_keeps_one_set_of_parameters():
    network = build("batch_by_call").to(torch.float64)
    assert network.root_prediction is not None
    for parameter, other in zip(
        network.prediction.parameters(), network.root_prediction.parameters(), strict=True
    ):
        assert parameter is other
        assert parameter.dtype == torch.float64


@pytest.mark.parametrize("norm", ["batch", "batch_by_call", "layer"])
def test_folded_answers_are_the_networks_own(norm):
    network = trained(norm).eval()
    folded = FoldedNetwork(network)
    tolerance = {"rtol": 1e-3, "atol": 1e-4}
    with torch.no_grad():
        torch.testing.assert_close(unroll(folded.network), unroll(network), **tolerance)
        network.load_inference_state_dict(build(norm, seed=3).inference_state_dict())
        folded.refresh()
        torch.testing.assert_close(unroll(folded.network), unroll(network), **tolerance)


def test_with_layer_norm_training_and_evaluation_are_one_function():
    network = build("layer")
    assert not [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    torch.testing.assert_close(unroll(network.train()), unroll(network.eval()))
