"""Q(s, a) trained towards the search's: numbers by hand, and what has no target has no gradient."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from efficientzero.networks import AnswerRule
from learner.training.losses.action_values import regression_part, softmax_part
from learner.training.losses.parts import loss_parts
from tests.support.cases.loss_cases import (
    case,
    in_float32,
    loss_of,
    make_batch,
    make_network,
)

NAN = np.nan


class Raw:
    """A support whose one output is the value itself."""

    def decode(self, logits):
        return logits.squeeze(-1)


def squared(support, logits, targets):
    return 0.5 * (support.decode(logits) - targets) ** 2


def evaluate(per_step, values, targets, policies=None):
    """Return the losses of roots [B, A] and the slopes of the action values."""
    logits = torch.tensor(values, dtype=torch.float64)[:, None, :, None].requires_grad_()
    network = SimpleNamespace(support=Raw(), answer_rule=AnswerRule(Raw()))
    unrolled = SimpleNamespace(network=network, action_value_logits=logits)
    batch = SimpleNamespace(
        action_value_targets=torch.tensor(targets, dtype=torch.float64)[:, None],
        policies=torch.tensor(policies or targets, dtype=torch.float64)[:, None],
    )
    losses = per_step(unrolled, batch)
    losses.sum().backward()
    return losses[:, 0].tolist(), logits.grad[:, 0, :, 0].tolist()


def test_the_softmax_of_equal_action_values_costs_the_logarithm_of_their_number():
    for q in ([1.0, 2.0, 4.0], [0.0, -3.0, 9.0]):
        (loss,), _ = evaluate(softmax_part(1.0), [[1.0, 1.0, 1.0]], [q])
        assert loss == pytest.approx(1.098612, abs=1e-6)


def test_the_slope_of_the_softmax_is_the_difference_of_the_policies_over_the_temperature():
    q, values, tau = [1.0, 2.0, 4.0], [0.5, 0.0, -1.0], 2.0
    _, (slopes,) = evaluate(softmax_part(tau), [values], [q])
    shares = [np.exp(np.array(row) / tau) for row in (values, q)]
    wanted = (shares[0] / shares[0].sum() - shares[1] / shares[1].sum()) / tau
    np.testing.assert_allclose(slopes, wanted, rtol=1e-9)


def test_regression_counts_visited_actions_by_their_visits():
    """0.75 * (1 - 3)^2 / 2 + 0.25 * (2 - 1)^2 / 2 = 1.625; the third action was not visited."""
    (loss,), (slopes,) = evaluate(
        regression_part(squared, by_visits=True),
        [[1.0, 2.0, 7.0]],
        [[3.0, 1.0, NAN]],
        [[0.75, 0.25, 0.0]],
    )
    assert loss == pytest.approx(1.625)
    assert slopes == [pytest.approx(-1.5), pytest.approx(0.25), 0.0]


def test_regression_counts_visited_actions_alike_where_policies_are_no_visits():
    """((1 - 3)^2 / 2 + (2 - 1)^2 / 2) / 2 = 1.25, whatever the policy."""
    (loss,), (slopes,) = evaluate(
        regression_part(squared, by_visits=False),
        [[1.0, 2.0, 7.0]],
        [[3.0, 1.0, NAN]],
        [[0.1, 0.1, 0.8]],
    )
    assert loss == pytest.approx(1.25)
    assert slopes == [pytest.approx(-1.0), pytest.approx(0.5), 0.0]


@pytest.mark.parametrize(
    "per_step",
    [softmax_part(0.5), regression_part(squared, by_visits=True)],
    ids=["softmax", "regression"],
)
def test_a_root_that_was_not_searched_anew_costs_nothing(per_step):
    losses, slopes = evaluate(
        per_step,
        [[1.0, 2.0], [1.0, 2.0]],
        [[NAN, NAN], [3.0, 1.0]],
        [[0.5, 0.5], [0.5, 0.5]],
    )
    assert losses[0] == 0.0 and slopes[0] == [0.0, 0.0]
    assert losses[1] > 0 and all(slope != 0 for slope in slopes[1])


@pytest.mark.parametrize("kind", ["regression", "softmax"])
def test_the_part_trains_its_head_and_without_it_there_is_none(kind):
    config = case(learner={"action_value_coefficient": 1.0, "action_value_loss": kind})
    network, batch = make_network(config), make_batch(config)
    terms = loss_of(network.float(), in_float32(batch), config)
    terms.total.backward()
    head = network.prediction.action_value_head
    assert all(parameter.grad.abs().sum() > 0 for parameter in head.parameters())
    assert terms.parts["action_value"].shape == (5, 4)
    assert not terms.parts["action_value"][0].any()
    names = [part.name for part in loss_parts(case())]
    assert "action_value" not in names
    assert make_network(case()).prediction.action_value_head is None


def test_values_are_still_those_of_the_value_head():
    config = case(learner={"action_value_coefficient": 1.0})
    plain, larger = make_network(case()).float(), make_network(config).float()
    before, after = plain.state_dict(), larger.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    batch = in_float32(make_batch(config))
    without = loss_of(plain, batch, case())
    with_head = loss_of(larger, batch, config)
    torch.testing.assert_close(with_head.parts["value"], without.parts["value"])
    torch.testing.assert_close(with_head.priorities, without.priorities)
