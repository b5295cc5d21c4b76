"""Improved policies: what the policy head is trained towards, from the results at a root.

``search.improved_policy`` chooses. With few simulations, visit counts hardly differ from the
prior; these rules read the Q of the root's actions instead. Pure; used after a search.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from efficientzero.config import SearchConfig
from efficientzero.schema import F32, F64, Bool, SearchResult

ImprovedPolicy = Callable[[SearchResult, Bool | None], F32]
"""(results with ``child_q``, legal actions [B, A] or None) -> policies [B, A]; rows sum to 1."""

_BISECTIONS = 40  # of an interval about as long as 1: to 1e-12
_TINY = float(np.finfo(np.float32).tiny)


def improved_policy(search: SearchConfig) -> ImprovedPolicy | None:
    """Return the rule that the config names; None: the search algorithm's own policy."""
    match search.improved_policy:
        case "algorithm":
            return None
        case "completed_q":
            return partial(_completed_q_policies, search)
        case "regularized":
            return partial(_regularized_policies, search)
        case "softmax_q":
            return partial(_softmax_policies, search)
        case "mellowmax":
            return partial(_mellowmax_policies, search)


def completed_q(result: SearchResult) -> F64:
    """Return Q of every action of the roots, f64 [B, A], raw scale.

    An action without a visit gets v_mix, a mean of the network's value of the root and the Q of
    its visited siblings, weighted by the prior (Gumbel MuZero, Danihelka et al., 2022, appendix D).
    """
    is_known = ~np.isnan(result.child_q)
    weights = np.where(is_known, np.maximum(_softmax(_float64(result.prior_logits)), _TINY), 0.0)
    q = np.where(is_known, result.child_q, 0.0).astype(np.float64)
    mean_q = (weights * q).sum(1) / np.maximum(weights.sum(1), _TINY)
    num_visits = result.visit_counts.sum(1)
    mixed = (result.predicted_values + num_visits * mean_q) / (1.0 + num_visits)
    completed: F64 = np.where(is_known, q, mixed[:, None])
    return completed


def softmax_q(q: F64, temperature: float, legal_actions: Bool | None = None) -> F64:
    """Return softmax(q / temperature) over the legal actions, f64 [B, A]."""
    return _softmax(_masked(q / temperature, legal_actions))


def regularized(q: F64, priors: F64, strengths: F64) -> F64:
    """Return argmax_y q.y - lambda KL(pi, y), f64 [B, A] (Grill et al., 2020, section 3).

    It is lambda pi_a / (alpha - q_a), with alpha such that the sum is 1.

    Args:
        q: [B, A], of any scale; minus infinity where an action is illegal.
        priors: pi, [B, A]; 0 where an action is illegal.
        strengths: lambda, [B], more than 0.
    """
    shares = strengths[:, None] * priors  # [B, A]

    def at(alpha: F64) -> F64:
        policies: F64 = shares / np.maximum(alpha[:, None] - q, _TINY)
        return policies

    # The sum falls with alpha; the bounds are those of appendix B.3.
    low, high = (q + shares).max(1), q.max(1) + strengths
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        is_above = at(middle).sum(1) > 1.0
        low, high = np.where(is_above, middle, low), np.where(is_above, high, middle)
    policies = at((low + high) / 2)
    normalised: F64 = policies / policies.sum(1, keepdims=True)
    return normalised


def mellowmax(q: F64, omega: float, legal_actions: Bool | None = None) -> F64:
    """Return the policy of most entropy whose mean Q is the mellowmax of Q, f64 [B, A].

    mm = ln(mean_a e^(omega q_a)) / omega, and the policy is softmax(beta q) with the beta at which
    sum_a e^(beta (q_a - mm)) (q_a - mm) = 0 (Asadi and Littman, 2017, sections 5 and 6).
    """
    legal = np.ones(q.shape, np.bool_) if legal_actions is None else legal_actions
    highest = _masked(q, legal).max(1, keepdims=True)
    below = np.where(legal, q - highest, 0.0)  # [B, A], at most 0: no exponential overflows
    mean = np.where(legal, np.exp(omega * below), 0.0).sum(1) / legal.sum(1)
    distance = np.where(legal, below - (np.log(mean) / omega)[:, None], 0.0)  # q_a - mm
    low, high = np.zeros(len(q)), np.full(len(q), omega)
    for _ in range(_BISECTIONS):
        beta = (low + high) / 2
        is_below = (np.exp(beta[:, None] * below) * distance).sum(1) < 0.0
        low, high = np.where(is_below, beta, low), np.where(is_below, high, beta)
    return _softmax(_masked(((low + high) / 2)[:, None] * below, legal))


def _completed_q_policies(search: SearchConfig, result: SearchResult, legal: Bool | None) -> F32:
    """Return softmax(ln pi + (c_visit + most visits) c_scale q): Gumbel MuZero, section 4."""
    scale = (search.gumbel_maxvisit_init + result.visit_counts.max(1)) * search.gumbel_value_scale
    logits = _float64(result.prior_logits) + scale[:, None] * _root_q(search, result, legal)
    return _softmax(_masked(logits, legal)).astype(np.float32)


def _regularized_policies(search: SearchConfig, result: SearchResult, legal: Bool | None) -> F32:
    """Return Grill's policies, with lambda = c(N) sqrt(N) / (N + A) as in the pUCT formula."""
    priors = _softmax(_masked(_float64(result.prior_logits), legal))
    num_visits = result.visit_counts.sum(1).astype(np.float64)
    num_actions = priors.shape[1] if legal is None else legal.sum(1)
    c = search.pb_c_init + np.log((num_visits + search.pb_c_base + 1) / search.pb_c_base)
    strengths = c * np.sqrt(num_visits) / (num_visits + num_actions)
    q = _masked(_root_q(search, result, legal), legal)
    return regularized(q, priors, strengths).astype(np.float32)


def _softmax_policies(search: SearchConfig, result: SearchResult, legal: Bool | None) -> F32:
    q = _root_q(search, result, legal)
    return softmax_q(q, search.q_temperature, legal).astype(np.float32)


def _mellowmax_policies(search: SearchConfig, result: SearchResult, legal: Bool | None) -> F32:
    q = _root_q(search, result, legal)
    return mellowmax(q, search.mellowmax_omega, legal).astype(np.float32)


def _root_q(search: SearchConfig, result: SearchResult, legal: Bool | None) -> F64:
    """Return completed Q, f64 [B, A], scaled to 0..1 by its range at each root if configured."""
    q = completed_q(result)
    if not search.normalize_q:
        return q
    lowest = -_masked(-q, legal).max(1, keepdims=True)
    highest = _masked(q, legal).max(1, keepdims=True)
    scaled: F64 = (q - lowest) / np.maximum(highest - lowest, search.value_delta_max)
    return scaled


def _masked(numbers: F64, legal: Bool | None) -> F64:
    """Return ``numbers`` with minus infinity where an action is illegal."""
    return numbers if legal is None else np.where(legal, numbers, -np.inf)


def _softmax(logits: F64) -> F64:
    exps = np.exp(logits - logits.max(1, keepdims=True))
    policies: F64 = exps / exps.sum(1, keepdims=True)
    return policies


def _float64(numbers: F32) -> F64:
    return numbers.astype(np.float64)
