"""Weights and moments of another run, loaded into this run's network and optimiser."""

import copy

import pytest
import torch
from torch import nn

from efficientzero.metrics.section_timer import SectionTimer
from learner.training.optimizers import adopt_weights, make_optimizer
from learner.training.update import Updater
from tests.support.cases.loss_cases import IMAGE, case, in_float32, make_batch
from tests.support.cases.loss_cases import make_network as loss_network


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
    parent, network = make_network(), make_network()
    network["further"] = nn.Linear(2, 2)
    optimizer = OPTIMIZERS["sgd"](parent.parameters())
    with pytest.raises(RuntimeError, match=r"further\.weight"):
        adopt_weights(network, OPTIMIZERS["sgd"](network.parameters()), state_of(parent, optimizer))


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("decoders", [(), ("theirs",), ("theirs", "ours")])
def test_a_projector_that_the_other_run_lacks_starts_new(kind, decoders):
    """The decoder's moments, which the other run has in the projector's place, are not taken."""
    parent, network = make_network(projector=False), make_network(seed=7)
    for name, one in (("theirs", parent), ("ours", network)):
        if name in decoders:
            one["decoder"] = nn.Linear(2, 2)
    optimizer = OPTIMIZERS[kind](parent.parameters())
    train(parent, optimizer, 4, seed=1)
    own = OPTIMIZERS[kind](network.parameters())
    before = network["projector"].weight.clone()
    adopt_weights(network, own, state_of(parent, optimizer))
    assert torch.equal(network["projector"].weight, before)
    torch.testing.assert_close(network["body"].weight, parent["body"].weight, rtol=0, atol=0)
    for name, parameter in network.named_parameters():
        assert (parameter in own.state) == name.startswith(("body", "norm")), name
    train(network, own, 2, seed=2)


def test_new_weights_between_others_are_refused():
    parent, network = make_network(projector=False), make_network()
    parent["further"] = network["further"] = nn.Linear(2, 2)
    optimizer = OPTIMIZERS["sgd"](parent.parameters())
    with pytest.raises(RuntimeError, match=r"projector\.weight: new in the weights"):
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


PRETRAINING = {
    "reconstruction_coefficient": 1.0,
    **dict.fromkeys(
        (
            *("consistency_coefficient", "policy_coefficient", "value_coefficient"),
            "value_prefix_coefficient",
        ),
        0.0,
    ),
}
LOSSES = {
    "spr": {"consistency": "spr", "momentum_tau": 0.5},
    "nce": {"consistency": "nce"},
    "reconstruction": {"reconstruction_coefficient": 1.0},
    "nothing": {"consistency_coefficient": 0.0},
    "simsiam": {},
    "pretraining": PRETRAINING,
}


def trained(losses, steps, seed=0):
    config = case(learner={"lr_warmup_fraction": 0.0, "learning_rate": 0.1, **LOSSES[losses]})
    network = loss_network(config, IMAGE, seed=seed).float()
    optimizer = make_optimizer(network, config)
    updater = Updater(network, optimizer, config, SectionTimer("learner"))
    for step in steps:
        updater.finish(
            updater.step(in_float32(make_batch(config, IMAGE, seed=step)), step, measure=False)
        )
    return network, optimizer, updater, config


@pytest.mark.parametrize("ours", ["simsiam", "nce"])
def test_training_goes_on_from_reconstruction_alone(ours):
    parent, parents_optimizer, _, _ = trained("pretraining", range(2))
    network, optimizer, updater, config = trained(ours, [], seed=1)
    before = copy.deepcopy(network.state_dict())
    adopt_weights(network, optimizer, state_of(parent, parents_optimizer))
    wanted = parent.state_dict()
    for name, tensor in network.state_dict().items():
        is_new = name.startswith(("projector", "predictor", "contrast_projector"))
        assert torch.equal(tensor, (before if is_new else wanted)[name]), name
    batch = in_float32(make_batch(config, IMAGE, seed=5))
    updater.finish(updater.step(batch, 2, measure=False))
    moved = network.state_dict()
    encoder = next(name for name in moved if name.startswith("representation"))
    projector = next(name for name in moved if name.startswith("projector"))
    assert not torch.equal(moved[encoder], wanted[encoder])
    assert not torch.equal(moved[projector], before[projector])


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("spr", "spr"),
        ("nce", "nce"),
        ("spr", "nothing"),
        ("nce", "nothing"),
        ("reconstruction", "nothing"),
        ("nothing", "nothing"),
    ],
)
def test_weights_averages_and_moments_of_every_loss_are_taken_where_the_run_has_them(theirs, ours):
    parent, parents_optimizer, updater, config = trained(theirs, range(2))
    network, optimizer, own, _ = trained(ours, [], seed=1)
    adopt_weights(network, optimizer, state_of(parent, parents_optimizer))
    assert_taken(network, optimizer, parent, parents_optimizer)
    if theirs != ours:
        return
    for each in (updater, own):
        batch = in_float32(make_batch(config, IMAGE, seed=5))
        each.finish(each.step(batch, 2, measure=False))
    assert_taken(network, optimizer, parent, parents_optimizer)


def assert_taken(network, optimizer, parent, parents_optimizer):
    wanted = parent.state_dict()
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, wanted[name]), name
    parameters = dict(parent.named_parameters())
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            one, other = optimizer.state[parameter], parents_optimizer.state[parameters[name]]
            assert torch.equal(one["momentum_buffer"], other["momentum_buffer"]), name
        else:
            assert parameter not in optimizer.state, name
