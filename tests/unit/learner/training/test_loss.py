"""The unrolled loss against a second implementation in float64, and its gradient against slopes."""

import dataclasses

import pytest
import torch

from efficientzero.config.fields import LearnerConfig
from learner.training.losses.loss_input import importance_weights
from learner.training.losses.parts import loss_parts
from learner.training.losses.unrolled_loss import LossPart, compute_loss
from tests.reference.reference_loss import Held, reference_loss
from tests.support.cases.loss_cases import (
    CASES,
    IMAGE,
    VECTOR,
    case,
    loss_of,
    make_batch,
    make_network,
)

SPECS = {"vectors": VECTOR, "images": IMAGE}
STEP = 1e-6
NO_CONSISTENCY = {"consistency_coefficient": 0.0}


@pytest.fixture(autouse=True)
def in_float64(monkeypatch):
    """Networks and losses round to float32 at their seams, too coarse for a measured slope."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("config", CASES.values(), ids=CASES)
@pytest.mark.parametrize("seed", [0, 1])
def test_loss_and_parts_equal_a_loop_over_slices_and_steps(config, spec, seed):
    network, batch = make_network(config, spec, seed), make_batch(config, spec, seed=seed)
    wanted = reference_loss(network, batch, config, Held())
    got = loss_of(network, batch, config)
    names = ("policy", "value", "value_prefix")[: 3 if config.agent.num_unroll_steps else 2]
    assert names == tuple(got.parts)[: len(names)]
    for name in names:
        part = torch.from_numpy(getattr(wanted, name))
        torch.testing.assert_close(got.parts[name], part, rtol=1e-9, atol=1e-9)
    for name in ("consistency", "reconstruction", "action_value"):
        if getattr(config.learner, f"{name}_coefficient"):
            part = torch.from_numpy(getattr(wanted, name))
            torch.testing.assert_close(got.parts[name], part, rtol=1e-9, atol=1e-9)
    if config.agent.auxiliary_discounts:
        part = torch.from_numpy(wanted.auxiliary)
        torch.testing.assert_close(got.parts["auxiliary_value"], part, rtol=1e-9, atol=1e-9)
    assert float(got.loss) == pytest.approx(wanted.loss, rel=1e-9)
    assert float(got.total.detach()) == pytest.approx(wanted.total, rel=1e-9)


def slope(network, module, direction, measure):
    """Return the central difference of ``measure`` along ``direction`` in a module's weights."""
    ends = []
    for step in (STEP, -2 * STEP, STEP):
        with torch.no_grad():
            for weight, change in zip(module.parameters(), direction, strict=True):
                weight.add_(change, alpha=step)
        ends.append(measure())
    return (ends[0] - ends[1]) / (2 * STEP)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("config", CASES.values(), ids=CASES)
def test_gradient_equals_measured_slopes_in_every_module(config, spec):
    network, batch = make_network(config, spec), make_batch(config, spec)
    held = Held()
    reference_loss(network, batch, config, held)
    loss_of(network, batch, config).total.backward()
    modules = {n: m for n, m in network.named_children() if list(m.parameters())}
    generator, slopes = torch.Generator().manual_seed(0), {}
    for name, module in modules.items():
        direction = [
            torch.randn(w.shape, generator=generator, dtype=w.dtype) for w in module.parameters()
        ]
        wanted = slope(
            network,
            module,
            direction,
            lambda: reference_loss(network, batch, config, held).objective,
        )
        got = sum(
            float((w.grad * d).sum())
            for w, d in zip(module.parameters(), direction, strict=True)
            if w.grad is not None
        )
        assert got == pytest.approx(wanted, rel=1e-5, abs=1e-7), name
        slopes[name] = wanted
    assert slopes["representation"] != 0
    assert (slopes["dynamics"] != 0) == (config.agent.num_unroll_steps > 0)


def test_masked_steps_do_not_count():
    config = case()
    network, batch = make_network(config), make_batch(config, size=8)
    is_masked = batch.mask == 0
    assert is_masked.any()
    values, prefixes = batch.values.clone(), batch.value_prefixes.clone()
    values[:, 1:][is_masked] += 5
    prefixes[is_masked] += 5
    altered = dataclasses.replace(batch, values=values, value_prefixes=prefixes)
    assert torch.equal(
        loss_of(network, batch, config).total, loss_of(network, altered, config).total
    )


def test_consistency_targets_get_no_gradient():
    config = case()
    batch = make_batch(config)
    following = batch.next_observations.clone().requires_grad_()
    inputs = dataclasses.replace(batch, next_observations=following)
    loss_of(make_network(config), inputs, config).total.backward()
    assert following.grad is None


def count_calls(network):
    calls = {}
    for name, module in network.named_modules():
        module.register_forward_hook(
            lambda *_, name=name: calls.__setitem__(name, calls.get(name, 0) + 1)
        )
    return calls


def test_consistency_costs_an_encoder_pass_and_projections_and_without_it_there_are_none():
    on, off = case(), case(learner=NO_CONSISTENCY)
    steps = on.agent.num_unroll_steps
    calls = {}
    for name, config in (("on", on), ("off", off)):
        network, batch = make_network(config), make_batch(config)
        calls[name] = count_calls(network)
        if name == "off":
            batch = dataclasses.replace(batch, next_observations=None)
        terms = loss_of(network, batch, config)
        assert ("consistency" in terms.parts) == (name == "on")
    assert calls["on"]["representation"] == 2
    assert calls["on"]["projector"] == steps + 1
    assert calls["on"]["predictor"] == steps
    assert calls["off"]["representation"] == 1
    assert calls["off"]["dynamics"] == calls["on"]["dynamics"] == steps
    assert not any(name.startswith(("projector", "predictor")) for name in calls["off"])


def test_consistency_without_next_observations_is_refused():
    config = case()
    batch = dataclasses.replace(make_batch(config), next_observations=None)
    with pytest.raises(ValueError, match="next_observations: got None"):
        loss_of(make_network(config), batch, config)


@pytest.mark.parametrize(
    ("coefficient", "parts"),
    [
        ("value_coefficient", ["prediction.value_head"]),
        ("policy_coefficient", ["prediction.policy_head"]),
        ("value_prefix_coefficient", ["value_prefix_head"]),
    ],
)
def test_a_part_that_does_not_count_is_reported_and_leaves_its_weights_without_gradient(
    coefficient, parts
):
    config = case(learner={coefficient: 0.0})
    network, batch = make_network(config), make_batch(config)
    terms = loss_of(network, batch, config)
    terms.total.backward()
    without = {name for name, weight in network.named_parameters() if weight.grad is None}
    assert without == {n for n, _ in network.named_parameters() if n.startswith(tuple(parts))}
    part = terms.parts[coefficient.removesuffix("_coefficient")]
    assert float(part.abs().sum()) > 0
    full = loss_of(make_network(case()), batch, case())
    weight = getattr(LearnerConfig(), coefficient)
    missing = weight * float(part.sum(1).mean())
    assert float(full.loss - terms.loss) == pytest.approx(missing, rel=1e-9)


def test_the_loss_is_the_coefficients_times_the_parts_whatever_the_gradient_scaling():
    batch, sums = make_batch(case()), []
    for scaling in ("muzero", "reference"):
        config = case(compat={"gradient_scaling": scaling})
        terms = loss_of(make_network(config), batch, config)
        wanted = sum(
            getattr(config.learner, f"{name}_coefficient") * float(part.sum(1).mean())
            for name, part in terms.parts.items()
        )
        assert float(terms.loss) == pytest.approx(wanted, rel=1e-9)
        sums.append((float(terms.loss), float(terms.total.detach())))
    assert sums[0] == pytest.approx(sums[1], rel=1e-12)


def norms(unrolled, batch):
    del batch
    return torch.stack([latents.flatten(1).norm(dim=1) for latents in unrolled.latents], 1)


def test_a_further_part_is_added_masked_and_reported_under_its_name():
    config = case()
    parts = (
        LossPart("all_norms", 0.5, norms),
        LossPart("later_norms", 0.5, lambda *args: norms(*args)[:, 1:]),
    )
    network, batch = make_network(config), make_batch(config)
    without = loss_of(network, batch, config)
    terms = compute_loss(network, batch, (*loss_parts(config), *parts), agent=config.agent)
    terms.total.backward()
    assert list(terms.parts) == [*without.parts, "all_norms", "later_norms"]
    steps = config.agent.num_unroll_steps
    everywhere, later = terms.parts["all_norms"], terms.parts["later_norms"]
    assert everywhere.shape == (5, steps + 1)
    torch.testing.assert_close(everywhere[:, 1:], later)
    assert torch.equal(later == 0, batch.mask == 0)
    added = 0.5 * float((everywhere.sum(1) + later.sum(1)).mean())
    assert float(terms.loss - without.loss) == pytest.approx(added, rel=1e-9)


@pytest.mark.parametrize("value_function", ["state", "action"])
@pytest.mark.parametrize("is_categorical", [True, False])
def test_priorities_are_absolute_value_errors_at_the_root(is_categorical, value_function):
    config = case(
        network={"categorical_values": is_categorical}, agent={"value_function": value_function}
    )
    network, batch = make_network(config), make_batch(config)
    terms = loss_of(network, batch, config)
    said = network.initial_inference(batch.root_observations)
    values = network.support.decode(said.value_logits)
    if value_function == "action":
        of_actions = network.support.decode(said.action_value_logits)
        values = of_actions.gather(1, batch.actions[:, :1]).squeeze(1)
    torch.testing.assert_close(terms.priorities, (values - batch.values[:, 0]).abs().detach())


def test_only_the_action_that_was_taken_is_trained_and_the_value_head_is_not():
    config = case(agent={"value_function": "action"}, learner=NO_CONSISTENCY)
    network, batch = make_network(config), make_batch(config)
    taken = dataclasses.replace(batch, actions=torch.zeros_like(batch.actions))
    loss_of(network, taken, config).total.backward()
    output = network.prediction.action_value_head[-1].output
    by_action = output.weight.grad.view(VECTOR.num_actions, -1).abs().sum(1)
    assert by_action[0] > 0
    assert by_action[1] == 0
    assert all(weight.grad is None for weight in network.prediction.value_head.parameters())


def test_importance_weights_by_hand():
    weights = importance_weights(torch.tensor([0.5, 0.125]), torch.tensor([8, 8]), 0.5)
    torch.testing.assert_close(weights, torch.tensor([0.5, 1.0]), check_dtype=False)
