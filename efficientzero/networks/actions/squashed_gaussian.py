"""The policy over continuous actions: a Gaussian whose draws are squashed by tanh.

Used by searches, which draw from it, and by the loss. Pure. The policy head has 2 D outputs for
actions in [-1, 1]^D. Everything is computed in float32, also under autocast: densities of narrow
policies leave the range of bfloat16's precision.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

_MEAN_BOUND = 5.0
_SCALE_SHIFT, _SMALLEST_SCALE = 1.0, 0.1
_LARGEST_ACTION = 0.999
"""Actions are clipped to it before atanh, whose gradient has no bound at 1."""
_LOG_ROOT_TWO_PI = 0.5 * math.log(2.0 * math.pi)
_NUM_NODES = 32
"""Of the quadrature in ``entropy``: exact for polynomials up to degree 63."""


class Gaussian(NamedTuple):
    """Mean and scale of the actions before tanh."""

    mean: Tensor  # f32 [..., D], within -5..5
    scale: Tensor  # f32 [..., D], more than 0.1


def parameters(outputs: Tensor) -> Gaussian:
    """Return mu = 5 tanh(m / 5) and sigma = softplus(s + 1) + 0.1 of a head's outputs (m, s).

    Args:
        outputs: [..., 2 D], m first.
    """
    raw_mean, raw_scale = outputs.float().chunk(2, dim=-1)
    mean = _MEAN_BOUND * torch.tanh(raw_mean / _MEAN_BOUND)
    return Gaussian(mean, F.softplus(raw_scale + _SCALE_SHIFT) + _SMALLEST_SCALE)


def draw(policy: Gaussian, noise: Tensor) -> Tensor:
    """Return the actions tanh(mu + sigma noise), f32 [..., D].

    Args:
        policy: [..., D]; broadcasts with ``noise``.
        noise: standard normal, f32 [..., D].
    """
    return torch.tanh(policy.mean + policy.scale * noise)


def log_prob(actions: Tensor, policy: Gaussian) -> Tensor:
    """Return the log density of actions, f32 [...].

    sum_d -((atanh a_d - mu_d) / sigma_d)^2 / 2 - ln sigma_d - ln(2 pi) / 2 - ln(1 - a_d^2).

    Args:
        actions: f32 [..., D] in -1..1; broadcasts with ``policy``.
        policy: [..., D].
    """
    clipped = actions.float().clamp(-_LARGEST_ACTION, _LARGEST_ACTION)
    distance = (torch.atanh(clipped) - policy.mean) / policy.scale
    log_normal = -0.5 * distance.square() - policy.scale.log() - _LOG_ROOT_TWO_PI
    return (log_normal - torch.log1p(-clipped.square())).sum(-1)


def entropy(policy: Gaussian) -> Tensor:
    """Return the differential entropy, f32 [...], at most D ln 2, that of uniform actions.

    sum_d ln sigma_d + ln(2 pi e) / 2 + E[ln(1 - tanh^2 u_d)], u_d ~ N(mu_d, sigma_d^2). The
    expectation is a Gauss-Hermite sum of 32 terms: it draws nothing, and its gradient has no noise.
    """
    nodes, weights = (torch.as_tensor(numbers).to(policy.mean) for numbers in _quadrature())
    u = policy.mean[..., None] + policy.scale[..., None] * nodes  # [..., D, nodes]
    # ln(1 - tanh^2 u), without the rounding of tanh near 1.
    log_slope = 2.0 * (math.log(2.0) - u - F.softplus(-2.0 * u))
    of_normal = policy.scale.log() + _LOG_ROOT_TWO_PI + 0.5
    return (of_normal + (log_slope * weights).sum(-1)).sum(-1)


@functools.cache
def _quadrature() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return nodes and weights of expectations under a standard normal distribution."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NUM_NODES)  # type: ignore[no-untyped-call]
    return nodes, weights / weights.sum()
