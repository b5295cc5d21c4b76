"""SPR's averages and InfoNCE's negatives; ``test_loss`` has the second implementation of both."""

import dataclasses

import pytest
import torch

from efficientzero.metrics.section_timer import SectionTimer
from efficientzero.networks import make_network
from learner.training.losses.cosine import follow_weights
from learner.training.losses.nce import info_nce
from learner.training.optimizers import make_optimizer
from learner.training.update import Updater
from tests.support.cases.loss_cases import IMAGE, case, in_float32, loss_of, make_batch

RATES = {"lr_warmup_fraction": 0.0, "learning_rate": 0.1}


def updater_of(config):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = make_network(config, IMAGE, training=True).train()
    optimizer = make_optimizer(network, config)
    return network, Updater(network, optimizer, config, SectionTimer("learner"))


def batch_of(config, seed=0, size=5):
    return in_float32(make_batch(config, IMAGE, size=size, seed=seed))


def average_of(network):
    modules = (network.momentum_representation, network.momentum_projector)
    return [p.detach().clone() for module in modules for p in module.parameters()]


def live_of(network):
    modules = (network.representation, network.projector)
    return [p.detach().clone() for module in modules for p in module.parameters()]


def test_info_nce_by_hand():
    predicted = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    targets = torch.tensor([[0.8, 0.6], [0.0, 1.0]])
    nobody = torch.zeros(2, 2, dtype=torch.bool)
    losses = info_nce(predicted, targets, torch.tensor([0, 1]), nobody, 0.1)
    torch.testing.assert_close(losses, torch.tensor([0.000335, 1.783901]), rtol=0, atol=1e-6)


def test_info_nce_without_negatives_is_zero_and_never_leaves_out_the_positive():
    vectors = torch.eye(2)
    losses = info_nce(vectors, vectors, torch.tensor([1, 0]), torch.ones(2, 2, dtype=bool), 0.1)
    assert losses.tolist() == [0.0, 0.0]


def test_steps_that_do_not_exist_reach_neither_loss_nor_gradient():
    config = case(learner={"consistency": "nce"})
    batch = batch_of(config, size=8)
    is_gone = batch.mask == 0
    assert 0 < is_gone.sum() < is_gone.numel()
    answers = []
    for filler in (0.0, float("nan")):
        network, _ = updater_of(config)

        def fill(module, inputs, output, filler=filler, is_gone=is_gone):
            del module, inputs
            return torch.where(is_gone.flatten()[:, None], filler, output)

        network.contrast_projector.register_forward_hook(fill)
        terms = loss_of(network, batch, config)
        terms.total.backward()
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        answers.append((terms.parts["consistency"], gradients))
    (zeros, zeros_gradients), (nans, nans_gradients) = answers
    assert torch.equal(zeros, nans)
    assert nans.abs().sum() > 0
    for wanted, got in zip(zeros_gradients, nans_gradients, strict=True):
        assert torch.equal(wanted, got)


@pytest.mark.parametrize("together", [False, True])
def test_other_steps_of_a_slice_are_negatives_only_if_asked_for(together):
    config = case(learner={"consistency": "nce", "nce_same_episode_negatives": together})
    batch, (network, _) = batch_of(config), updater_of(config)
    everywhere = torch.ones_like(batch.mask)
    alone = everywhere * torch.eye(5)[:, :1]  # the first slice only
    with torch.no_grad():
        full, single = (
            loss_of(network, dataclasses.replace(batch, mask=mask), config).parts["consistency"]
            for mask in (everywhere, alone)
        )
    assert (full > 0).all()
    assert (single[0] > 1e-4).all() == together  # 0: it has no negatives
    assert single[1:].abs().sum() == 0


@pytest.mark.parametrize("kind", ["spr", "nce"])
def test_kinds_build_their_own_modules_last_and_change_no_other_weight(kind):
    ours, _ = updater_of(case(learner={"consistency": kind}))
    plain, _ = updater_of(case())
    own = [n for n in ours.state_dict() if n not in plain.state_dict()]
    names = {
        "spr": ("momentum_representation.", "momentum_projector."),
        "nce": "contrast_projector.",
    }
    assert own
    assert all(name.startswith(names[kind]) for name in own)
    assert list(ours.state_dict()) == [*plain.state_dict(), *own]
    for name, tensor in plain.state_dict().items():
        assert torch.equal(ours.state_dict()[name], tensor), name
    assert ours.inference_state_dict().keys() == plain.inference_state_dict().keys()


def test_spr_is_simsiam_while_the_averages_are_the_live_weights():
    losses = {}
    for name, learner in {
        "simsiam": {},
        "spr": {"consistency": "spr", "momentum_tau": 0.0},
    }.items():
        config = case(learner={**RATES, **learner})
        _, updater = updater_of(config)
        updates = [updater.step(batch_of(config, seed), seed, measure=True) for seed in range(3)]
        losses[name] = [update.terms.parts["consistency"] for update in updates]
        ratios = updates[-1].update_ratios
        assert not any("momentum" in module for module in ratios)
        assert ratios["projector"] > 0
    for got, wanted in zip(losses["spr"], losses["simsiam"], strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-6)


def test_averages_follow_the_weights_after_each_update():
    config = case(learner={**RATES, "consistency": "spr", "momentum_tau": 0.75})
    network, updater = updater_of(config)
    wanted = live_of(network)
    for seed in range(3):
        updater.step(batch_of(config, seed), seed, measure=False)
        wanted = [0.75 * m + 0.25 * w for m, w in zip(wanted, live_of(network), strict=True)]
    for got, average in zip(average_of(network), wanted, strict=True):
        torch.testing.assert_close(got, average, rtol=1e-6, atol=1e-7)
    assert any(
        not torch.equal(m, w) for m, w in zip(average_of(network), live_of(network), strict=True)
    )


def test_a_step_that_is_not_made_leaves_averages_and_their_statistics():
    config = case(learner={**RATES, "consistency": "spr", "max_grad_norm": 1e-9})
    network, updater = updater_of(config)
    with torch.no_grad():
        for weight in network.representation.parameters():
            weight.add_(1.0)  # or nothing would move in any case
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert updater.finish(updater.step(batch_of(config), 0, measure=False)).is_skipped
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    follow_weights(network, torch.tensor(False), tau=0.5)
    assert not torch.equal(
        average_of(network)[0], before["momentum_representation.layers.0.weight"]
    )
