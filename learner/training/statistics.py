"""The learner's metrics of one train_step, as one flat row of numbers.

Called on logging steps only. Everything is computed on the device and fetched at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from efficientzero.networks import EfficientZeroNet
from efficientzero.schema import F64, I64
from learner.training.losses import LossInput, LossTerms
from learner.training.update import Update
from replay.format import TrainingBatch

_DORMANT = 0.025
_RANK_SAMPLES = 256
_WITH_ERRORS = ("policy", "value", "value_prefix")
"""Parts of the loss whose errors are reported as divergences or distances, not as losses."""


class UpdateStatistics:
    """Gradient norms and targets of the train_steps since the last row."""

    def __init__(self, max_grad_norm: float) -> None:
        """Start empty."""
        self._max_grad_norm = max_grad_norm
        self._clear()

    def add(self, grad_norm: float, *, is_skipped: bool, overflow_share: float) -> None:
        """Add one train_step."""
        self._norms.append(grad_norm)
        self._skipped += is_skipped
        self._overflow_shares.append(overflow_share)

    def row(self) -> dict[str, float]:
        """Return the metrics of the steps so far, at least one, and reset."""
        norms = np.array(self._norms)
        row = {
            "learner/grad_norm": norms[-1],
            "learner/grad_norm_max": norms.max(),
            "learner/clipped_share": (norms > self._max_grad_norm).mean(),
            "learner/skipped_updates": self._skipped,
            "learner/target_overflow_share": np.mean(self._overflow_shares),
        }
        self._clear()
        return {name: float(value) for name, value in row.items()}

    def _clear(self) -> None:
        self._norms: list[float] = []
        self._overflow_shares: list[float] = []
        self._skipped = 0


@torch.no_grad()
def training_statistics(
    train_step: int,
    batch: TrainingBatch,
    inputs: LossInput,
    update: Update,
    network: EfficientZeroNet,
    *,
    evaluated: Tensor,
) -> Mapping[str, float]:
    """Return the statistics of one train_step.

    Losses are sums over the unroll and means over the batch, without importance weights but for
    ``total_loss``. An error of step k is a mean over the slices that reach step k. Means over no
    slices are left out.

    Args:
        train_step: train_steps made, this one included.
        batch: for the versions of the weights.
        inputs: the batch on the device.
        update: of this batch.
        network: decodes values; its weights are not used.
        evaluated: f32 [B, K + 1] ``eval_values`` of the same inputs before the update.
    """
    terms, values = (
        update.terms,
        network.answer_rule.decode(update.terms.value_logits),
    )  # [B, K + 1]
    numbers = {
        **_losses(inputs, terms),
        **_value_numbers(inputs, terms, values),
        **_eval_numbers(inputs, terms, values[:, 0], evaluated),
        **_prefix_numbers(inputs, terms, network),
        **_policy_numbers(inputs, terms),
        **_latent_numbers(terms),
        **_weight_numbers(inputs),
        **{f"update_ratio_{name}": ratio for name, ratio in update.update_ratios.items()},
    }
    gram = _gram_matrix(terms.latents)
    stacked = torch.stack([value.double() for value in numbers.values()])
    host = torch.cat([stacked, gram.flatten()]).cpu().numpy()  # the only wait for the device
    row = dict(zip(numbers, host[: len(numbers)].tolist(), strict=True))
    row["latent_rank"] = effective_rank(host[len(numbers) :].reshape(gram.shape))
    row |= _staleness("acting_weights", train_step - batch.weights_versions)
    row |= _staleness("target_weights", train_step - batch.target_weights_versions)
    return {f"learner/{name}": value for name, value in row.items() if math.isfinite(value)}


def _losses(inputs: LossInput, terms: LossTerms) -> dict[str, Tensor]:
    """Return the loss and its parts; also each step of parts that have no separate error metric."""
    numbers = {"total_loss": terms.total.detach(), "loss": terms.loss}
    numbers |= {f"{name}_loss": part.sum(1).mean() for name, part in terms.parts.items()}
    reached, num_places = _reached(inputs), inputs.num_unroll_steps + 1
    for name, part in terms.parts.items():
        if name in _WITH_ERRORS:
            continue
        first = num_places - part.shape[1]  # 0 with a column for o[t], else 1
        for k in range(first, num_places):
            numbers[f"{name}_error_k{k}"] = _mean_where(part[:, k - first], reached[:, k])
    return numbers


def _value_numbers(inputs: LossInput, terms: LossTerms, values: Tensor) -> dict[str, Tensor]:
    targets = terms.value_targets
    errors = targets - values
    numbers = _mean_and_std("value", values[:, 0])
    numbers |= _mean_and_std("target_value", targets[:, 0])
    numbers |= _mean_and_std("td_error", errors[:, 0])
    numbers |= _mean_and_std("priority", terms.priorities)
    numbers["value_explained_variance"] = 1.0 - _variance(errors[:, 0]) / _variance(targets[:, 0])
    numbers["value_std_ratio"] = numbers["value_std"] / numbers["target_value_std"]
    numbers |= _absolute_errors(errors[:, 0].abs(), numbers["target_value_std"])
    reached = _reached(inputs)
    for k in range(values.shape[1]):
        numbers[f"value_error_k{k}"] = _mean_where(errors[:, k].abs(), reached[:, k])
    return numbers


def _absolute_errors(errors: Tensor, target_std: Tensor) -> dict[str, Tensor]:
    """Return the largest absolute TD errors, and their mean against the spread of the targets."""
    return {
        "td_error_abs_p95": torch.quantile(errors, 0.95),
        "td_error_abs_max": errors.max(),
        "td_error_relative": errors.mean() / target_std,
    }


def _eval_numbers(
    inputs: LossInput, terms: LossTerms, trained: Tensor, evaluated: Tensor
) -> dict[str, Tensor]:
    """Return how far values in evaluation mode are from training mode's and from the targets."""
    numbers = {"value_eval_gap": (evaluated[:, 0] - trained).abs().mean()}
    reached, errors = _reached(inputs), evaluated - terms.value_targets
    for k in range(evaluated.shape[1]):
        numbers[f"value_eval_bias_k{k}"] = _mean_where(errors[:, k], reached[:, k])
        numbers[f"value_eval_error_k{k}"] = _mean_where(errors[:, k].abs(), reached[:, k])
    return numbers


def _prefix_numbers(
    inputs: LossInput, terms: LossTerms, network: EfficientZeroNet
) -> dict[str, Tensor]:
    """Return errors of the value prefix, over all and by the target's sign; nothing without one."""
    if not inputs.num_unroll_steps:
        return {}
    prefixes, targets = network.answer_rule.decode(terms.value_prefix_logits), inputs.value_prefixes
    errors, is_real = (prefixes - targets).abs(), inputs.step_mask > 0
    numbers = _mean_and_std("value_prefix", prefixes[:, 0])
    numbers |= _mean_and_std("target_value_prefix", targets[:, 0])
    signs = {"": is_real, "_positive": targets > 0, "_negative": targets < 0, "_zero": targets == 0}
    for sign, where in signs.items():
        counted = where & is_real
        numbers[f"value_prefix_error{sign}"] = _mean_where(errors, counted)
        for k in range(targets.shape[1]):
            name = f"value_prefix_error_k{k + 1}{sign}"
            numbers[name] = _mean_where(errors[:, k], counted[:, k])
    return numbers


def _policy_numbers(inputs: LossInput, terms: LossTerms) -> dict[str, Tensor]:
    """Return how sure the head is at o[t], and the divergence KL(target || head) of each step."""
    log_policies = torch.log_softmax(terms.policy_logits, dim=-1)  # [B, K + 1, A]
    targets = inputs.policies
    target_entropies = -torch.special.xlogy(targets, targets).sum(-1)  # [B, K + 1]
    is_real = (targets.sum(-1) > 0) & _reached(inputs)
    entropy = -(log_policies[:, 0].exp() * log_policies[:, 0]).sum(1).mean()
    largest = log_policies[:, 0].max(1).values.exp()
    numbers = {
        "policy_entropy": entropy,
        "policy_entropy_share": entropy / math.log(max(2, log_policies.shape[2])),
        "policy_max_prob_mean": largest.mean(),
        "policy_max_prob_p95": torch.quantile(largest, 0.95),
        "target_policy_entropy": _mean_where(target_entropies[:, 0], is_real[:, 0]),
        **_played_numbers(inputs, log_policies),
    }
    for k in range(targets.shape[1]):
        divergence = terms.parts["policy"][:, k] - target_entropies[:, k]
        numbers[f"policy_error_k{k}"] = _mean_where(divergence, is_real[:, k])
    return numbers


def _played_numbers(inputs: LossInput, log_policies: Tensor) -> dict[str, Tensor]:
    """Return ln pi of the actions that were played at o[t + k], k < K; nothing without an unroll.

    Args:
        inputs: have the actions, and which of them exist.
        log_policies: f32 [B, K + 1, A].
    """
    num_steps = inputs.num_unroll_steps
    if not num_steps:
        return {}
    played, exists = inputs.actions[:, :num_steps, None], inputs.step_mask > 0
    found = log_policies[:, :num_steps].gather(2, played).squeeze(2)  # [B, K]
    return {
        "action_log_prob_max": torch.where(exists, found, -math.inf).max(),
        "action_log_prob_mean": _mean_where(found, exists),
        "action_log_prob_min": torch.where(exists, found, math.inf).min(),
    }


def _latent_numbers(terms: LossTerms) -> dict[str, Tensor]:
    """Return the share of dormant latent channels (Sokar et al., 2023, definition 3.1).

    A unit is dormant if its mean absolute activation is at most 0.025 of the mean over its layer.
    A unit is a channel of an image latent, an entry of a vector latent.
    """
    batch, channels = terms.latents.shape[:2]
    activations = terms.latents.abs().reshape(batch, channels, -1)
    scores = activations.mean((0, 2))  # [C]
    return {"dormant_share": (scores <= _DORMANT * scores.mean()).double().mean()}


def _weight_numbers(inputs: LossInput) -> dict[str, Tensor]:
    """Return how many slices the importance weights leave (Kish's size), and what is masked."""
    weights = inputs.importance_weights
    return {
        "importance_weight_ess_share": weights.sum() ** 2 / (weights**2).sum() / len(weights),
        "masked_share": 1.0 - inputs.mask.mean(),
    }


def _gram_matrix(latents: Tensor) -> Tensor:
    """Return the inner products of at most 256 latents, f64 [n, n].

    In float64, because singular values are the roots of its eigenvalues.
    """
    rows = latents[:_RANK_SAMPLES].flatten(1).double()
    return rows @ rows.T


def effective_rank(gram: F64) -> float:
    """Return exp(entropy of the singular values over their sum) (Roy and Vetterli, 2007).

    Args:
        gram: [n, n] inner products of the matrix's rows.

    Returns:
        1 to n; 0 if all rows are zero, NaN if they are not finite.
    """
    if not np.isfinite(gram).all():
        return math.nan
    singular = np.sqrt(np.linalg.eigvalsh(gram).clip(min=0.0))
    total = singular.sum()
    if total == 0:
        return 0.0
    shares = singular[singular > 0] / total
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _staleness(name: str, ages: I64) -> dict[str, float]:
    """Return how many train_steps old the weights behind a batch are."""
    return {
        f"{name}_staleness_mean": float(ages.mean()),
        f"{name}_staleness_p95": float(np.percentile(ages, 95)),
    }


def _reached(inputs: LossInput) -> Tensor:
    """Return which slices reach o[t + k], bool [B, K + 1]; all reach o[t]."""
    return inputs.reached > 0


def _mean_where(values: Tensor, where: Tensor) -> Tensor:
    """Return the mean of the entries chosen; NaN if there are none."""
    return torch.where(where, values, 0.0).sum() / where.sum()


def _variance(values: Tensor) -> Tensor:
    return values.var(correction=0)


def _mean_and_std(name: str, values: Tensor) -> dict[str, Tensor]:
    return {f"{name}_mean": values.mean(), f"{name}_std": values.std(correction=0)}
