"""Weights and moments of another run, loaded into this run's network and optimiser."""

import copy

import pytest
import torch
from torch import nn

from learner.training.optimizers import adopt_weights


def make_network(*, projector=True, seed=0):
    torch.manual_seed(seed)
    layers = {"body": nn.Linear(3, 2), "norm": nn.BatchNorm1d(2)}
    if projector:
        layers["projector"] = nn.Linear(2, 2)
    return nn.ModuleDict(layers)


def train(network, optimizer, steps, seed):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        inputs = torch.randn(5, 3, generator=generator)
        hidden = network["norm"](network["body"](inputs))
        loss = hidden.square().sum() + hidden[:, 0].sum()
        if "projector" in network:
            loss = loss + network["projector"](hidden.detach()).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


OPTIMIZERS = {
    "sgd": lambda p, **options: torch.optim.SGD(p, lr=0.1, momentum=0.9, **options),
    "adamw": lambda p, **options: torch.optim.AdamW(p, lr=0.1, **options),
}


def state_of(network, optimizer):
    return copy.deepcopy({"network": network.state_dict(), "optimizer": optimizer.state_dict()})


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("projector", [True, False])
def test_next_steps_are_those_that_the_other_run_would_have_made(kind, projector):
    parent = make_network()
    optimizer = OPTIMIZERS[kind](parent.parameters())
    train(parent, optimizer, 4, seed=1)
    network = make_network(projector=projector, seed=7)
    own = OPTIMIZERS[kind](network.parameters())
    adopt_weights(network, own, state_of(parent, optimizer))
    train(network, own, 3, seed=2)
    train(parent, optimizer, 3, seed=2)
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, parent.state_dict()[name], rtol=0, atol=0)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_optimiser_keeps_its_own_settings(kind):
    parent = make_network()
    optimizer = OPTIMIZERS[kind](parent.parameters(), weight_decay=0.5)
    train(parent, optimizer, 2, seed=1)
    network = make_network()
    own = OPTIMIZERS[kind](network.parameters(), weight_decay=0.25)
    adopt_weights(network, own, state_of(parent, optimizer))
    assert own.param_groups[0]["weight_decay"] == 0.25


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("kept", ["", "projector"])
def test_a_decoder_starts_new_and_takes_no_moments_of_others(kind, kept):
    parent = make_network()
    parent["decoder"] = nn.Linear(2, 2)
    optimizer = OPTIMIZERS[kind](parent.parameters())
    train(parent, optimizer, 4, seed=1)
    network = make_network(projector=bool(kept), seed=7)
    network["decoder"] = nn.Linear(2, 2)
    own = OPTIMIZERS[kind](network.parameters())
    before = network["decoder"].weight.clone()
    adopt_weights(network, own, state_of(parent, optimizer))
    assert torch.equal(network["decoder"].weight, before)
    for name, parameter in network.named_parameters():
        assert (parameter in own.state) == (not name.startswith("decoder")), name
    torch.testing.assert_close(network["body"].weight, parent["body"].weight, rtol=0, atol=0)


def test_weights_that_are_missing_are_refused():
    parent, network = make_network(projector=False), make_network()
    optimizer = OPTIMIZERS["sgd"](parent.parameters())
    with pytest.raises(RuntimeError, match=r"projector\.weight"):
        adopt_weights(network, OPTIMIZERS["sgd"](network.parameters()), state_of(parent, optimizer))


def test_weights_that_the_network_does_not_know_are_refused():
    parent, network = make_network(), make_network(projector=False)
    parent["memory"] = nn.Linear(1, 1)
    optimizer = OPTIMIZERS["sgd"](parent.parameters())
    with pytest.raises(RuntimeError, match=r"memory\.weight"):
        adopt_weights(network, OPTIMIZERS["sgd"](network.parameters()), state_of(parent, optimizer))


def test_moments_of_other_parameters_are_never_taken():
    parent, network = make_network(), make_network(projector=False)
    parent["predictor"] = network["predictor"] = nn.Linear(2, 2)
    optimizer = OPTIMIZERS["sgd"](parent.parameters())
    with pytest.raises(RuntimeError, match=r"projector\.weight: left out"):
        adopt_weights(network, OPTIMIZERS["sgd"](network.parameters()), state_of(parent, optimizer))
