"""Noisy and dueling layers of the head with action values."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from efficientzero.config.files import ConfigError
from efficientzero.config.validation import validate
from efficientzero.inference import SearchNetwork
from efficientzero.networks import (
    Classifier,
    NoisyLinear,
    draw_noise,
    make_network,
    noisy_layers,
    silence,
)
from efficientzero.networks.classifiers import DuelingClassifier
from efficientzero.schema import Roots
from efficientzero.search import make_planner
from learner.training.network import draw_training_noise
from tests.support.cases.loss_cases import IMAGE, VECTOR, case, changed
from tests.support.fakes import tiny_config

ACTION = {"value_function": "action"}
NOISY = {"agent": ACTION, "network": {"noisy_heads": True}}


def test_without_noise_a_noisy_layer_is_a_linear_one_and_saves_no_noise():
    layer, x = NoisyLinear(4, 3, sigma=0.5), torch.randn(6, 4)
    wanted = nn.functional.linear(x, layer.weight, layer.bias)
    torch.testing.assert_close(layer(x), wanted, rtol=0, atol=0)
    assert set(layer.state_dict()) == {"weight", "bias", "weight_scale", "bias_scale"}
    torch.testing.assert_close(layer.weight_scale, torch.full((3, 4), 0.25))  # 0.5 / sqrt(4)
    assert layer.weight.abs().max() <= 0.5


def test_noise_is_factorised_by_hand():
    layer = NoisyLinear(2, 1, sigma=1.0)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2.0]]))
        layer.bias.fill_(3.0)
        layer.weight_scale.copy_(torch.tensor([[0.1, 0.2]]))
        layer.bias_scale.fill_(0.3)
    layer.noise_in.copy_(torch.tensor([2.0, -1.0]))
    layer.noise_out.copy_(torch.tensor([-3.0]))
    # Weights 1 + 0.1 * -3 * 2 = 0.4 and 2 + 0.2 * -3 * -1 = 2.6, bias 3 + 0.3 * -3 = 2.1.
    assert layer(torch.tensor([[1.0, 10.0]])).item() == pytest.approx(0.4 + 26 + 2.1)


def test_noise_has_the_moments_of_the_paper():
    layer, generator = NoisyLinear(3, 50, sigma=0.5), torch.Generator().manual_seed(0)
    x = torch.tensor([[1.0, -2.0, 0.5]])
    mean = nn.functional.linear(x, layer.weight, layer.bias)
    with torch.no_grad():
        drawn = []
        for _ in range(2_000):
            layer.draw(generator)
            drawn.append((layer(x) - mean).flatten())
    noise = torch.stack(drawn)
    # f(e)^2 = |e|, whose mean is sqrt(2 / pi); weights have two such factors, biases one.
    factor, scale = math.sqrt(2 / math.pi), 0.5 / math.sqrt(3)
    variance = scale**2 * (factor**2 * float((x**2).sum()) + factor)
    assert float(noise.mean()) == pytest.approx(0.0, abs=0.02)
    assert float(noise.var()) == pytest.approx(variance, rel=0.05)


def test_all_ranks_draw_the_same_noise_and_every_train_step_another():
    config = case(**NOISY)
    networks = [make_network(config, VECTOR, training=True) for _ in range(2)]
    outputs = {}
    for step, is_frozen in ((0, False), (1, False), (0, True)):
        for network in networks:
            draw_training_noise(network, config, step, is_frozen=is_frozen)
        first, second = (noisy_layers(network) for network in networks)
        for one, other in zip(first, second, strict=True):
            assert torch.equal(one.noise_in, other.noise_in)
            assert torch.equal(one.noise_out, other.noise_out)
        outputs[step, is_frozen] = torch.cat([layer.noise_in for layer in first])
    assert len({tuple(noise.tolist()) for noise in outputs.values()}) == 3


@pytest.mark.parametrize("dueling", [False, True])
def test_only_the_head_with_action_values_is_noisy_and_all_other_weights_stay(dueling):
    plain, noisy = case(agent=ACTION), changed(case(**NOISY), network={"dueling": dueling})
    networks = []
    for config in (plain, noisy):
        torch.manual_seed(0)
        networks.append(make_network(config, IMAGE, training=True))
    wanted, got = (network.state_dict() for network in networks)
    head = "prediction.action_value_head."
    for name, tensor in wanted.items():
        if not name.startswith(head):
            torch.testing.assert_close(got[name], tensor, rtol=0, atol=0, msg=name)
    assert all(name.startswith(head) for name in got.keys() - wanted.keys())
    assert not noisy_layers(networks[0])
    assert len(noisy_layers(networks[1])) == (4 if dueling else 2)


def test_noise_moves_action_values_and_its_scales_are_trained():
    network = make_network(case(**NOISY), VECTOR, training=True).train()
    observations = torch.randn(5, 3)
    silence(network)
    quiet = network.initial_inference(observations).action_value_logits
    draw_noise(network, 1)
    loud = network.initial_inference(observations).action_value_logits
    assert not torch.allclose(quiet, loud)
    loud.square().sum().backward()
    for layer in noisy_layers(network):
        assert layer.weight_scale.grad.abs().max() > 0
        assert layer.bias_scale.grad.abs().max() > 0
    silence(network)
    torch.testing.assert_close(
        network.initial_inference(observations).action_value_logits, quiet, rtol=0, atol=0
    )


def test_searches_call_the_noisy_network_itself():
    network = make_network(case(**NOISY), IMAGE, training=False).eval()
    inference = SearchNetwork(network, backend="auto", precision="float32", batch_size=2)
    assert inference.network is network
    plain = make_network(case(agent=ACTION), IMAGE, training=False).eval()
    assert (
        SearchNetwork(plain, backend="auto", precision="float32", batch_size=2).backend == "folded"
    )


def test_dueling_adds_the_value_to_advantages_without_their_mean():
    def make(out_size):
        return Classifier(3, 4, out_size, norm=nn.LayerNorm, zero_init=False)

    head = DuelingClassifier(make, num_actions=2, num_bins=3)
    with torch.no_grad():
        for stream, bias in (
            (head.value, [1.0, 0, 0]),
            (head.advantages, [2.0, 0, 0, 4.0, 6.0, 0]),
        ):
            stream.output.weight.zero_()
            stream.output.bias.copy_(torch.tensor(bias))
    # Means over actions 3, 3, 0: 1 + 2 - 3, 0 - 3, 0 and 1 + 4 - 3, 6 - 3, 0.
    wanted = torch.tensor([[0.0, -3, 0, 2, 3, 0]])
    torch.testing.assert_close(head(torch.randn(1, 3)), wanted)


def test_a_dueling_head_is_folded_for_searches():
    network = make_network(
        case(agent=ACTION, network={"dueling": True}), IMAGE, training=False
    ).eval()
    observations = torch.randint(0, 256, (4, *IMAGE.observation_shape), dtype=torch.uint8)
    folded = SearchNetwork(network, backend="folded", precision="float32", batch_size=4)
    with torch.no_grad():
        got = folded.initial_inference(observations).action_value_logits
        wanted = network.initial_inference(observations).action_value_logits
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)
    assert wanted.abs().max() > 0


def test_a_copy_of_a_noisy_network_has_its_own_noise():
    network = make_network(case(**NOISY), VECTOR, training=True)
    twin = copy.deepcopy(network)
    draw_noise(twin, 3)
    assert all(layer.noise_in.abs().sum() == 0 for layer in noisy_layers(network))


def test_actors_explore_by_noise_and_evaluations_have_none():
    config = changed(case(**NOISY), search={"num_simulations": 0})
    network = make_network(config, VECTOR, training=False).eval()
    planner = make_planner(
        config,
        VECTOR,
        network,
        batch_size=8,
        device=torch.device("cpu"),
        generator=np.random.default_rng(0),
    )
    roots = Roots(np.random.default_rng(1).normal(size=(8, 3)).astype(np.float32))
    first, second = (planner.run(roots, exploration_noise=True).child_q for _ in range(2))
    assert (np.abs(first - second) > 1e-4).all()
    quiet = [planner.run(roots, exploration_noise=False).child_q for _ in range(2)]
    np.testing.assert_array_equal(*quiet)
    planner.run(roots, exploration_noise=True)
    values = planner.network_action_values(roots.observations)
    np.testing.assert_allclose(values, quiet[0], rtol=1e-6)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"network": {"dueling": True}}, "network.dueling: got true with agent.value_function"),
        ({"network": {"noisy_heads": True}}, "network.noisy_heads: got true with agent.value_fun"),
        (NOISY, "network.noisy_heads: got true with search.num_simulations"),
    ],
)
def test_parts_of_a_head_that_does_not_exist_or_noise_in_a_search_are_refused(sections, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        validate(changed(tiny_config(), **sections))
