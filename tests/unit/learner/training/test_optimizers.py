"""Optimisers against hand-computed steps, and what of them a checkpoint must hold."""

import copy

import pytest
import torch
from torch import nn

from learner.training.optimizers import LARS, make_optimizer
from tests.support.cases.loss_cases import case

SETTINGS = {"lr": 0.5, "momentum": 0.9, "weight_decay": 0.1, "trust_coefficient": 0.02}


def parameter(*rows, gradient):
    weight = nn.Parameter(torch.tensor(rows))
    weight.grad = torch.tensor(gradient)
    return weight


def test_lars_steps_are_those_computed_by_hand():
    weight = parameter([3.0, 0.0], [0.0, 4.0], gradient=[[0.0, 0.6], [0.8, 0.0]])  # norms 5 and 1
    optimizer = LARS([weight], **SETTINGS)
    optimizer.step()
    # Rate of the layer 0.02 * 5 / (1 + 0.1 * 5) = 1 / 15; times 0.5: 1 / 30.
    # g + b * w = [[0.3, 0.6], [0.8, 0.4]]; v = that / 30.
    first = torch.tensor([[3 - 0.01, -0.02], [-0.08 / 3, 4 - 0.04 / 3]])
    torch.testing.assert_close(weight.detach(), first)
    before = weight.detach().clone()
    optimizer.param_groups[0]["lr"] = 0.0
    optimizer.step()
    # Nothing new comes in, but nine tenths of the momentum, rate included, go on.
    torch.testing.assert_close(
        weight.detach(), before - 0.9 * torch.tensor([[0.01, 0.02], [0.08 / 3, 0.04 / 3]])
    )


@pytest.mark.parametrize("zero", ["weight", "gradient"])
def test_lars_takes_the_plain_rate_where_a_norm_is_zero(zero):
    value, slope = (0.0, 2.0) if zero == "weight" else (2.0, 0.0)
    weight = parameter([value], gradient=[[slope]])
    LARS([weight], **SETTINGS).step()
    torch.testing.assert_close(weight.item(), value - 0.5 * (slope + 0.1 * value))


def test_lars_moves_vectors_by_plain_steps_without_decay():
    bias, weight = parameter(3.0, 4.0, gradient=[0.2, -1.0]), parameter([1.0], gradient=[[1.0]])
    LARS([bias, weight], **SETTINGS).step()
    torch.testing.assert_close(bias.detach(), torch.tensor([3.0 - 0.1, 4.0 + 0.5]))
    torch.testing.assert_close(weight.item(), 1 - 0.5 * 0.02 / 1.1 * 1.1)


def test_lars_leaves_gradients_and_what_has_none_alone():
    with_gradient, without = parameter([1.0], gradient=[[1.0]]), nn.Parameter(torch.ones(1, 1))
    optimizer = LARS([without, with_gradient], **SETTINGS)
    optimizer.step()
    assert with_gradient.grad.item() == without.item() == 1.0
    assert list(optimizer.state) == [with_gradient]


def test_sgd_with_its_momentum_made_beforehand_steps_as_torchs():
    def network():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            return nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(3, 2))

    ours, theirs = network(), network()
    learner = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.01}
    optimizers = (
        make_optimizer(ours, case(learner=learner)),
        torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01, fused=True),
    )
    for _ in range(3):
        for net, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            net(torch.ones(1, 2, 3, 3)).square().sum().backward()
            optimizer.step()
    for got, wanted in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(got, wanted)


@pytest.mark.parametrize("kind", ["sgd", "adamw", "lars"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("steps_before", [0, 2])
def test_optimiser_goes_on_from_its_state_and_leaves_a_step_out_without_a_trace(
    kind, momentum, steps_before
):
    config = case(learner={"optimizer": kind, "momentum": momentum, "learning_rate": 0.1})
    nets = [nn.Linear(2, 2) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    optimizers = [make_optimizer(net, config) for net in nets]

    def step(index, scale, *, is_unusable=0.0):
        net, optimizer = nets[index], optimizers[index]
        optimizer.zero_grad()
        (scale * net(torch.ones(1, 2)).square().sum()).backward()
        optimizer.found_inf = torch.tensor(is_unusable)
        optimizer.step()

    for scale in range(1, 1 + steps_before):
        step(0, scale)
        step(1, scale)
    step(0, float("nan"), is_unusable=1.0)
    saved = copy.deepcopy(optimizers[0].state_dict())
    optimizers[0] = make_optimizer(nets[0], config)
    optimizers[0].load_state_dict(saved)
    for index in (0, 1):
        step(index, 3.0)
        step(index, 4.0)
    for got, wanted in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(got, wanted)
