"""The optimiser's step against formulas, and the steps that must not be made."""

import dataclasses
import logging

import pytest
import torch

from efficientzero.config.fields import BudgetConfig
from efficientzero.config.schedules import learning_rate
from efficientzero.metrics.section_timer import SectionTimer
from efficientzero.networks import make_network
from learner.training.optimizers import make_optimizer
from learner.training.update import TrainingDiverged, Updater
from tests.support.cases.loss_cases import IMAGE, case, changed, in_float32, loss_of, make_batch

FLAT = {"lr_warmup_fraction": 0.0, "learning_rate": 0.1}


def float32_batch(config, seed=0):
    return in_float32(make_batch(config, IMAGE, seed=seed))


def broken_batch(config):
    batch = float32_batch(config)
    return dataclasses.replace(batch, policies=batch.policies * float("nan"))


def network_of(config):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make_network(config, IMAGE, training=True).train()


def updater_of(config):
    network = network_of(config)
    optimizer = make_optimizer(network, config)
    return network, Updater(network, optimizer, config, SectionTimer("learner"))


def make_step(updater, batch, train_step):
    """Make one update and see it through."""
    return updater.finish(updater.step(batch, train_step, measure=False))


def copied(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def assert_same(got, wanted):
    for name, tensor in wanted.items():
        assert torch.equal(got[name], tensor), name


def clipped_gradient(network, batch, config):
    gradients = torch.autograd.grad(
        loss_of(network, batch, config).total, list(network.parameters()), allow_unused=True
    )
    norm = torch.sqrt(sum((g.double() ** 2).sum() for g in gradients if g is not None))
    return [g * min(1.0, float(config.learner.max_grad_norm / norm)) for g in gradients], norm


@pytest.mark.parametrize("max_grad_norm", [0.05, 1e3])
def test_sgd_steps_are_clipped_gradient_plus_decay_through_momentum(max_grad_norm):
    config = case(learner={**FLAT, "max_grad_norm": max_grad_norm, "weight_decay": 0.01})
    network, updater = updater_of(config)
    plain = network_of(config)
    momenta = [torch.zeros_like(p) for p in plain.parameters()]
    for step in range(3):
        batch = float32_batch(config, step)
        gradients, norm = clipped_gradient(plain, batch, config)
        result = make_step(updater, batch, step)
        assert result.grad_norm == pytest.approx(float(norm), rel=1e-4)
        assert not result.is_skipped
        with torch.no_grad():
            for weight, momentum, gradient in zip(
                plain.parameters(), momenta, gradients, strict=True
            ):
                momentum.mul_(0.9).add_(gradient + 0.01 * weight)
                weight.sub_(0.1 * momentum)
    for got, wanted in zip(network.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-5)


def test_first_adamw_step_moves_each_weight_by_the_rate_against_its_gradients_sign():
    config = case(learner={**FLAT, "optimizer": "adamw", "weight_decay": 0.01})
    network, updater = updater_of(config)
    before = copied(network)
    make_step(updater, float32_batch(config), 0)
    for name, weight in network.named_parameters():
        wanted = before[name] * (1 - 0.1 * 0.01) - 0.1 * weight.grad.sign()
        is_clear = weight.grad.abs() > 1e-5
        torch.testing.assert_close(weight[is_clear], wanted[is_clear], rtol=1e-2, atol=1e-3)


def test_rate_follows_the_schedule():
    config = changed(
        case(learner={"lr_warmup_fraction": 0.5, "lr_decay_steps": 2}),
        budget=dataclasses.asdict(BudgetConfig(train_steps=4, last_train_steps=2)),
    )
    _, updater = updater_of(config)
    rates = []
    for step in range(6):
        make_step(updater, float32_batch(config), step)
        rates.append(updater._optimizer.param_groups[0]["lr"])
    assert rates == [learning_rate(s, config.learner, config.budget) for s in range(6)]
    assert len(set(rates)) > 2


OPTIMIZERS = ["sgd", "adamw", "lars"]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("good_steps", [0, 2])
def test_a_loss_that_is_no_number_leaves_weights_statistics_and_optimiser_as_they_were(
    optimizer, good_steps
):
    config = case(learner={**FLAT, "optimizer": optimizer})
    (network, updater), (same, same_updater) = updater_of(config), updater_of(config)
    for step in range(good_steps):
        make_step(updater, float32_batch(config, step), step)
        make_step(same_updater, float32_batch(config, step), step)
    with pytest.raises(
        TrainingDiverged, match=rf"train_step {good_steps}: loss nan.*lower learner\.learning_rate"
    ):
        make_step(updater, broken_batch(config), good_steps)
    assert_same(copied(network), copied(same))
    # And what follows is as if it had not been.
    make_step(updater, float32_batch(config, 7), good_steps)
    make_step(same_updater, float32_batch(config, 7), good_steps)
    assert_same(copied(network), copied(same))


def test_an_absurd_gradient_is_left_out_and_many_in_a_row_end_training(caplog):
    config = case(learner={**FLAT, "max_grad_norm": 1e-9})  # a million times that is soon reached
    network, updater = updater_of(config)
    before = copied(network)
    with caplog.at_level(logging.WARNING):
        for step in range(19):
            update = updater.step(float32_batch(config, step), step, measure=True)
            assert updater.finish(update).is_skipped
            assert {float(ratio) for ratio in update.update_ratios.values()} == {0.0}
    assert len(caplog.records) == 19
    assert "no update is made" in caplog.text
    with pytest.raises(
        TrainingDiverged, match=r"over 1e\+06 \* learner\.max_grad_norm, as in 20 train_steps"
    ):
        make_step(updater, float32_batch(config, 19), 19)
    assert_same(copied(network), before)


def test_absurd_gradients_that_are_not_in_a_row_do_not_end_training():
    config = case(learner=FLAT)
    network, updater = updater_of(config)
    wild = float32_batch(config)
    wild = dataclasses.replace(wild, importance_weights=wild.importance_weights + 1e9)
    for step in range(0, 44, 2):
        assert make_step(updater, wild, step).is_skipped
        assert not make_step(updater, float32_batch(config, step), step + 1).is_skipped
    assert all(torch.isfinite(tensor).all() for tensor in network.state_dict().values())


def test_update_ratios_are_the_distance_moved_over_the_norm_before():
    config = case(learner=FLAT)
    network, updater = updater_of(config)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    assert updater.step(float32_batch(config), 0, measure=False).update_ratios == {}
    network, updater = updater_of(config)
    ratios = updater.step(float32_batch(config), 0, measure=True).update_ratios
    modules = {name.split(".")[0] for name in before}
    assert ratios.keys() == modules
    for module in modules:
        names = [name for name in before if name.split(".")[0] == module]
        parameters = dict(network.named_parameters())
        moved = torch.cat([(parameters[n] - before[n]).flatten() for n in names]).norm()
        size = torch.cat([before[n].flatten() for n in names]).norm()
        assert float(ratios[module]) == pytest.approx((moved / size).item(), rel=1e-4)
        assert float(ratios[module]) > 0


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_steps_asked_for_after_a_bad_one_change_nothing_until_the_host_has_seen_it(optimizer):
    config = case(learner={**FLAT, "optimizer": optimizer})
    (network, updater), (same, same_updater) = updater_of(config), updater_of(config)
    make_step(same_updater, float32_batch(config), 0)
    asked = [
        updater.step(batch, step, measure=False)
        for step, batch in enumerate(
            [float32_batch(config), broken_batch(config), float32_batch(config, 2)]
        )
    ]
    assert not updater.finish(asked[0]).is_skipped
    with pytest.raises(TrainingDiverged, match="train_step 1: loss nan"):
        updater.finish(asked[1])
    assert_same(copied(network), copied(same))
    assert updater.finish(asked[2]).is_skipped
    make_step(updater, float32_batch(config, 3), 1)
    make_step(same_updater, float32_batch(config, 3), 1)
    assert_same(copied(network), copied(same))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_step_waits_for_nothing_and_its_end_for_one_copy(optimizer, monkeypatch):
    config = case(learner={**FLAT, "optimizer": optimizer})
    _, updater = updater_of(config)
    waits = []
    for name in ("cpu", "item", "tolist", "__float__", "__bool__", "__int__", "numpy"):
        original = getattr(torch.Tensor, name)

        def counted(self, *args, name=name, original=original, **kwargs):
            waits.append(name)
            return original(self, *args, **kwargs)

        monkeypatch.setattr(torch.Tensor, name, counted)
    for step in range(2):
        update = updater.step(float32_batch(config), step, measure=True)
        assert waits == []
        updater.finish(update)
        assert waits == ["numpy"]
        waits.clear()
