"""The learner's row of numbers, recomputed in numpy from the same batch."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from learner.training.eval_values import eval_values
from learner.training.losses.unrolled_loss import LossTerms
from learner.training.statistics import UpdateStatistics, effective_rank, training_statistics
from learner.training.update import Readback, Update
from tests.support.cases.loss_cases import CASES, case, loss_of, make_batch, make_network
from tests.support.fakes import tiny_config
from tests.support.training_batches import training_batch

BATCH = training_batch(tiny_config())


@pytest.fixture(autouse=True)
def in_float64(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)


def result_of(terms: LossTerms, **ratios):
    return Update(
        train_step=9, terms=terms, update_ratios=ratios, readback=Readback(terms.priorities)
    )


def row_of(config, size=40, **changes):
    network, inputs = make_network(config), make_batch(config, size=size)
    inputs = dataclasses.replace(inputs, **changes)
    terms = loss_of(network, inputs, config)
    row = training_statistics(
        10, BATCH, inputs, result_of(terms), network, evaluated=evaluated_of(terms)
    )
    return row, network, inputs, terms


def evaluated_of(terms: LossTerms) -> torch.Tensor:
    """Return made-up values in evaluation mode, f64 [B, K + 1]."""
    values = terms.parts["value"]
    return torch.arange(values.numel(), dtype=torch.float64).view_as(values) / 100


def test_losses_are_sums_over_the_unroll_that_add_up():
    config = case()
    row, _, _, terms = row_of(config)
    learner = config.learner
    parts = ("policy", "value", "value_prefix", "consistency")
    total = sum(getattr(learner, f"{p}_coefficient") * row[f"learner/{p}_loss"] for p in parts)
    assert row["learner/loss"] == pytest.approx(total)
    assert row["learner/total_loss"] == pytest.approx(float(terms.total.detach()))
    assert row["learner/total_loss"] != row["learner/loss"]


def test_errors_of_each_step_are_means_over_the_slices_that_reach_it():
    config = case()
    row, network, inputs, terms = row_of(config)
    steps = config.agent.num_unroll_steps
    values = network.support.decode(terms.value_logits).numpy()
    prefixes = network.support.decode(terms.value_prefix_logits).numpy()
    policies = torch.softmax(terms.policy_logits, 2).numpy()
    mask = inputs.mask.numpy().astype(bool)
    assert 0 < mask.mean() < 1
    for k in range(steps + 1):
        reached = [b for b in range(len(mask)) if k == 0 or mask[b, k - 1]]
        errors = [abs(float(inputs.values[b, k]) - values[b, k]) for b in reached]
        assert row[f"learner/value_error_k{k}"] == pytest.approx(np.mean(errors), rel=1e-5)
        divergences = []
        for b in reached:
            target = inputs.policies[b, k].numpy()
            if target.sum() > 0:
                divergences.append((target * np.log(target / policies[b, k])).sum())
        wanted = pytest.approx(np.mean(divergences), rel=1e-4)
        assert row[f"learner/policy_error_k{k}"] == wanted
    targets = inputs.value_prefixes.numpy()
    signs = {"_positive": targets > 0, "_negative": targets < 0, "_zero": targets == 0}
    errors = np.abs(prefixes - targets)
    for sign, where in {"": mask, **signs}.items():
        wanted = errors[where & mask].mean()
        assert row[f"learner/value_prefix_error{sign}"] == pytest.approx(wanted, rel=1e-5)
        for k in range(steps):
            wanted = errors[:, k][where[:, k] & mask[:, k]].mean()
            got = row[f"learner/value_prefix_error_k{k + 1}{sign}"]
            assert got == pytest.approx(wanted, rel=1e-5)
    for k in range(steps):
        cosine = terms.parts["consistency"][:, k].numpy()[mask[:, k]].mean()
        assert row[f"learner/consistency_error_k{k + 1}"] == pytest.approx(cosine, rel=1e-5)


def test_a_further_part_of_the_loss_has_a_row_of_its_own():
    config = case()
    network, inputs = make_network(config), make_batch(config)
    terms = loss_of(network, inputs, config)
    numbers = torch.arange(20.0).view(5, 4)
    terms = dataclasses.replace(terms, parts={**terms.parts, "more": numbers})
    row = training_statistics(
        10, BATCH, inputs, result_of(terms), network, evaluated=evaluated_of(terms)
    )
    assert row["learner/more_loss"] == pytest.approx(float(numbers.sum(1).mean()))
    assert row["learner/more_error_k0"] == pytest.approx(8.0)
    reached = inputs.mask[:, 2] > 0
    assert row["learner/more_error_k3"] == pytest.approx(float(numbers[reached, 3].mean()))


def test_values_targets_and_their_errors_at_the_root():
    row, network, inputs, terms = row_of(case())
    values = network.support.decode(terms.value_logits)[:, 0].numpy()
    targets = inputs.values[:, 0].numpy()
    errors = targets - values
    prefixes = network.support.decode(terms.value_prefix_logits)[:, 0].numpy()
    wanted = {
        "value": values,
        "target_value": targets,
        "td_error": errors,
        "priority": np.abs(errors),
        "value_prefix": prefixes,
        "target_value_prefix": inputs.value_prefixes[:, 0].numpy(),
    }
    for name, numbers in wanted.items():
        assert row[f"learner/{name}_mean"] == pytest.approx(numbers.mean(), rel=1e-4)
        assert row[f"learner/{name}_std"] == pytest.approx(numbers.std(), rel=1e-4)
    explained = 1 - errors.var() / targets.var()
    assert row["learner/value_explained_variance"] == pytest.approx(explained, rel=1e-4)


def test_entropies_by_hand():
    halves = torch.zeros(40, 4, 2, dtype=torch.float64)
    halves[:20, 0] = 0.5
    halves[20:, 0, 0] = 1.0
    row, _, _, terms = row_of(case(), policies=halves)
    assert row["learner/target_policy_entropy"] == pytest.approx(math.log(2) / 2)
    shares = torch.softmax(terms.policy_logits[:, 0], 1)
    entropy = torch.distributions.Categorical(probs=shares).entropy().mean()
    assert row["learner/policy_entropy"] == pytest.approx(float(entropy), rel=1e-5)


def row_of_policies(logits, actions, mask):
    """Return the row of a batch of which only head, played actions and mask are what is given."""
    config = case()
    network, inputs = make_network(config), make_batch(config, size=len(logits))
    terms = dataclasses.replace(loss_of(network, inputs, config), policy_logits=logits)
    inputs = dataclasses.replace(inputs, actions=actions, mask=mask)
    return training_statistics(
        10, BATCH, inputs, result_of(terms), network, evaluated=evaluated_of(terms)
    )


def test_how_sure_the_policy_is_by_hand():
    num_steps = make_batch(case()).num_unroll_steps
    logits = torch.log(torch.tensor([0.7, 0.2, 0.1])).double().expand(4, num_steps + 1, 3)
    actions, mask = torch.zeros(4, num_steps, dtype=torch.int64), torch.ones(4, num_steps)
    row = row_of_policies(logits, actions, mask)
    for name in ("max", "mean", "min"):
        assert row[f"learner/action_log_prob_{name}"] == pytest.approx(-0.356675, rel=1e-5)
    # Of one slice action 2 was played; of another, action 1 past the end, which counts nowhere.
    actions[0], actions[1], mask[1] = 2, 1, 0.0
    row = row_of_policies(logits, actions, mask)
    assert row["learner/action_log_prob_max"] == pytest.approx(math.log(0.7))
    assert row["learner/action_log_prob_min"] == pytest.approx(math.log(0.1))
    mean = (2 * math.log(0.7) + math.log(0.1)) / 3
    assert row["learner/action_log_prob_mean"] == pytest.approx(mean)
    assert row["learner/policy_entropy"] == pytest.approx(0.801819, rel=1e-5)
    assert row["learner/policy_entropy_share"] == pytest.approx(0.729847, rel=1e-5)
    assert row["learner/policy_max_prob_mean"] == pytest.approx(0.7)


def test_played_actions_that_are_all_past_the_end_have_no_probability():
    num_steps = make_batch(case()).num_unroll_steps
    logits = torch.zeros(4, num_steps + 1, 3, dtype=torch.float64)
    actions, mask = torch.zeros(4, num_steps, dtype=torch.int64), torch.zeros(4, num_steps)
    row = row_of_policies(logits, actions, mask)
    assert not [name for name in row if "action_log_prob" in name]
    assert row["learner/policy_entropy_share"] == pytest.approx(1.0)


def test_largest_probabilities_and_spread_of_values_are_those_of_numpy():
    row, network, inputs, terms = row_of(case())
    log_policies = torch.log_softmax(terms.policy_logits, -1).numpy()
    largest = np.exp(log_policies[:, 0].max(1))
    assert row["learner/policy_max_prob_mean"] == pytest.approx(largest.mean())
    assert row["learner/policy_max_prob_p95"] == pytest.approx(np.percentile(largest, 95))
    played = [
        log_policies[i, k, inputs.actions[i, k]]
        for i in range(len(log_policies))
        for k in range(inputs.num_unroll_steps)
        if inputs.mask[i, k] > 0
    ]
    assert 0 < len(played) < inputs.mask.numel()
    for name, of in (("max", np.max), ("mean", np.mean), ("min", np.min)):
        assert row[f"learner/action_log_prob_{name}"] == pytest.approx(of(played))
    values = network.support.decode(terms.value_logits)[:, 0].numpy()
    targets = inputs.values[:, 0].numpy()
    errors = np.abs(targets - values)
    assert row["learner/value_std_ratio"] == pytest.approx(values.std() / targets.std(), rel=1e-4)
    assert row["learner/td_error_abs_p95"] == pytest.approx(np.percentile(errors, 95), rel=1e-4)
    assert row["learner/td_error_abs_max"] == pytest.approx(errors.max(), rel=1e-4)
    assert row["learner/td_error_relative"] == pytest.approx(
        errors.mean() / targets.std(), rel=1e-4
    )
    # The mean absolute error has a name already.
    assert row["learner/value_error_k0"] == pytest.approx(errors.mean(), rel=1e-4)


def test_equal_targets_have_no_spread_to_compare_with():
    row, *_ = row_of(case(), values=torch.ones(40, 4, dtype=torch.float64))
    assert row["learner/target_value_std"] == 0.0
    assert not {"learner/value_std_ratio", "learner/td_error_relative"} & row.keys()


def test_effective_sample_size_of_equal_weights_is_one_and_of_one_weight_its_share():
    equal, _, _, _ = row_of(case(), importance_weights=torch.ones(40, dtype=torch.float64))
    assert equal["learner/importance_weight_ess_share"] == pytest.approx(1.0)
    single = torch.zeros(40, dtype=torch.float64)
    single[3] = 7.0
    one, _, inputs, _ = row_of(case(), importance_weights=single)
    assert one["learner/importance_weight_ess_share"] == pytest.approx(1 / 40)
    assert one["learner/masked_share"] == pytest.approx(1 - float(inputs.mask.mean()))


def test_staleness_is_the_age_of_the_weights_in_train_steps():
    config = case()
    network, inputs = make_network(config), make_batch(config)
    acting, target = np.arange(8, dtype=np.int64) * 10, np.full(8, 60, np.int64)
    batch = BATCH._replace(weights_versions=acting, target_weights_versions=target)
    terms = loss_of(network, inputs, config)
    row = training_statistics(
        100, batch, inputs, result_of(terms), network, evaluated=evaluated_of(terms)
    )
    assert row["learner/acting_weights_staleness_mean"] == 65
    # 0.95 of the way along 30, 40 .. 100: 6.65 intervals.
    assert row["learner/acting_weights_staleness_p95"] == pytest.approx(96.5)
    assert row["learner/target_weights_staleness_mean"] == 40
    assert row["learner/target_weights_staleness_p95"] == 40


@pytest.mark.parametrize(
    ("matrix", "wanted"),
    [
        (np.eye(5), 5.0),
        (np.ones((6, 3)), 1.0),
        (np.diag([3.0, 1.0, 0.0]), math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))),
        (np.zeros((4, 2)), 0.0),
    ],
)
def test_effective_rank_by_hand(matrix, wanted):
    assert effective_rank(matrix @ matrix.T) == pytest.approx(wanted, rel=1e-6)


def test_effective_rank_is_that_of_the_singular_values():
    matrix = np.random.default_rng(0).normal(size=(20, 50)) * np.geomspace(1, 1e-3, 50)
    shares = np.linalg.svd(matrix, compute_uv=False)
    shares = shares / shares.sum()
    wanted = np.exp(-(shares * np.log(shares)).sum())
    assert effective_rank(matrix @ matrix.T) == pytest.approx(wanted, rel=1e-6)


def test_latents_rank_and_dormant_channels():
    config = case()
    network, inputs = make_network(config), make_batch(config)
    terms = loss_of(network, inputs, config)
    latents = torch.zeros(3, 4, 2, 2)  # 3 latents of 4 channels; one silent, one almost
    latents[0, 0], latents[1, 1], latents[2, 1] = 1.0, -2.0, 1.0
    latents[:, 2] = 0.01
    # Mean absolute activations 1/3, 1, 0.01, 0; mean 0.336; dormant at most 0.0084: one of four.
    terms = dataclasses.replace(terms, latents=latents)
    row = training_statistics(
        10, BATCH, inputs, result_of(terms), network, evaluated=evaluated_of(terms)
    )
    assert row["learner/dormant_share"] == 0.25
    assert 1.9 < row["learner/latent_rank"] < 2.1
    terms = dataclasses.replace(terms, latents=latents[:, :, 0, 0])
    row = training_statistics(
        10, BATCH, inputs, result_of(terms), network, evaluated=evaluated_of(terms)
    )
    assert row["learner/dormant_share"] == 0.25


def test_values_in_evaluation_mode_are_compared_with_trainings_and_with_the_targets():
    config = case()
    row, network, inputs, terms = row_of(config)
    trained = network.support.decode(terms.value_logits).numpy()
    evaluated, targets = evaluated_of(terms).numpy(), inputs.values.numpy()
    gap = np.abs(evaluated[:, 0] - trained[:, 0]).mean()
    assert row["learner/value_eval_gap"] == pytest.approx(gap)
    mask = inputs.mask.numpy().astype(bool)
    for k in range(config.agent.num_unroll_steps + 1):
        reached = np.ones(len(mask), bool) if k == 0 else mask[:, k - 1]
        errors = (evaluated - targets)[reached, k]
        assert row[f"learner/value_eval_bias_k{k}"] == pytest.approx(errors.mean())
        assert row[f"learner/value_eval_error_k{k}"] == pytest.approx(np.abs(errors).mean())


def test_values_in_evaluation_mode_change_no_weight_and_no_statistic():
    config = tiny_config()
    network, inputs = make_network(config).train(), make_batch(config)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    values = eval_values(network, inputs, config)
    assert values.shape == inputs.values.shape
    assert not values.requires_grad
    assert all(module.training for module in network.modules())
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    with torch.no_grad():
        root = network.eval().initial_inference(inputs.root_observations)
    torch.testing.assert_close(values[:, 0], network.support.decode(root.value_logits))


def test_update_ratios_go_into_the_row():
    config = case()
    network, inputs = make_network(config), make_batch(config)
    terms = loss_of(network, inputs, config)
    update = result_of(terms, dynamics=torch.tensor(0.25))
    row = training_statistics(
        10, BATCH, inputs, update, network, evaluated=evaluated_of(update.terms)
    )
    assert row["learner/update_ratio_dynamics"] == 0.25


def test_what_is_a_mean_of_nothing_is_left_out():
    row, _, _, _ = row_of(
        case(),
        mask=torch.zeros(40, 3, dtype=torch.float64),
        values=torch.ones(40, 4, dtype=torch.float64),
    )
    assert "learner/value_error_k0" in row
    assert "learner/value_error_k1" not in row
    assert "learner/value_prefix_error_positive" not in row
    assert "learner/value_explained_variance" not in row
    assert all(math.isfinite(value) for value in row.values())


@pytest.mark.parametrize("config", CASES.values(), ids=CASES)
def test_every_switch_has_a_finite_row_and_consistency_only_where_there_is_one(config):
    row, _, _, _ = row_of(config)
    has_consistency = any("consistency" in name for name in row)
    assert has_consistency == (config.learner.consistency_coefficient > 0)
    assert all(math.isfinite(value) for value in row.values())


def test_row_waits_for_the_device_once(monkeypatch):
    config = case()
    network, inputs = make_network(config), make_batch(config)
    update = result_of(loss_of(network, inputs, config), dynamics=torch.tensor(0.25))
    waits = []
    for name in ("cpu", "item", "tolist", "__float__", "__bool__", "__int__", "numpy"):
        original = getattr(torch.Tensor, name)

        def counted(self, *args, name=name, original=original, **kwargs):
            waits.append(name)
            return original(self, *args, **kwargs)

        monkeypatch.setattr(torch.Tensor, name, counted)
    training_statistics(10, BATCH, inputs, update, network, evaluated=evaluated_of(update.terms))
    assert waits == ["cpu", "numpy"]


def test_steps_since_the_last_row():
    steps = UpdateStatistics(max_grad_norm=5.0)
    for norm, share in ((1.0, 0.0), (9.0, 0.5), (6.0, 0.1), (2.0, 0.0)):
        steps.add(norm, is_skipped=norm == 9.0, overflow_share=share)
    assert steps.row() == {
        "learner/grad_norm": 2.0,
        "learner/grad_norm_max": 9.0,
        "learner/clipped_share": 0.5,
        "learner/skipped_updates": 1.0,
        "learner/target_overflow_share": pytest.approx(0.15),
    }
    steps.add(3.0, is_skipped=False, overflow_share=0.0)
    assert steps.row()["learner/clipped_share"] == 0.0
