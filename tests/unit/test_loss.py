"""The unrolled loss against a slow per-sample second implementation."""

import dataclasses
import math

import pytest
import torch

from efficientzero.config import AgentConfig, LearnerConfig, NetworkConfig
from efficientzero.networks import EfficientZeroNet
from efficientzero.schema import EnvSpec
from learner.loss import LossInput, compute_loss, importance_weights, scale_gradient

SPEC = EnvSpec(
    env_id="x", frame_shape=(3,), frame_dtype="float32", num_actions=2, num_stacked_frames=1
)
SMALL = NetworkConfig(
    mlp_latent_size=8,
    mlp_hidden_size=16,
    head_hidden_size=8,
    lstm_hidden_size=6,
    projector_hidden_size=8,
    projection_size=8,
    predictor_hidden_size=4,
    support_bound=3,
    zero_init_heads=False,
)
AGENT = AgentConfig(num_unroll_steps=3, value_prefix_horizon=2)


def make_network(seed=0):
    torch.manual_seed(seed)
    return EfficientZeroNet(SMALL, SPEC, value_prefix=True).eval()


def make_batch(batch=4, steps=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    policies = torch.softmax(torch.randn(batch, steps + 1, 2, generator=g), 2)
    mask = torch.tensor([[1.0, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 1]])[:batch]
    policies[1, 2:] = 0
    return LossInput(
        root_observations=torch.randn(batch, 3, generator=g),
        next_observations=torch.randn(batch, steps, 3, generator=g),
        actions=torch.randint(0, 2, (batch, steps), generator=g),
        value_prefixes=torch.randn(batch, steps, generator=g),
        values=torch.randn(batch, steps + 1, generator=g) * 3,
        policies=policies,
        mask=mask,
        importance_weights=torch.rand(batch, generator=g),
    )


def h(x):
    return math.copysign(math.sqrt(abs(x) + 1) - 1, x) + 0.001 * x


def slow_cross_entropy(logits, value, bound=3):
    position = min(max(h(value), -bound), bound) + bound
    low = math.floor(position)
    log_p = torch.log_softmax(logits, 0)
    high_share = position - low
    result = (1 - high_share) * log_p[low]
    if high_share:
        result = result + high_share * log_p[low + 1]
    return -result


def slow_loss(network, batch, learner):
    totals = []
    for b in range(len(batch.actions)):
        out = network.initial_inference(batch.root_observations[b : b + 1])
        latent, lstm = out.latents, network.initial_lstm_states(1)
        policy = -(batch.policies[b, 0] * torch.log_softmax(out.policy_logits[0], 0)).sum()
        total = policy * learner.policy_coefficient
        total = total + learner.value_coefficient * slow_cross_entropy(
            out.value_logits[0], float(batch.values[b, 0])
        )
        steps = batch.actions.shape[1]
        for k in range(steps):
            out = network.recurrent_inference(latent, lstm, batch.actions[b : b + 1, k])
            latent, lstm = out.latents, out.lstm_states
            if (k + 1) % AGENT.value_prefix_horizon == 0:
                lstm = torch.zeros_like(lstm)
            policy = -(batch.policies[b, k + 1] * torch.log_softmax(out.policy_logits[0], 0)).sum()
            value = slow_cross_entropy(out.value_logits[0], float(batch.values[b, k + 1]))
            prefix = slow_cross_entropy(
                out.value_prefix_logits[0], float(batch.value_prefixes[b, k])
            )
            p = network.project(latent, with_predictor=True)[0]
            z = network.project(
                network.representation(batch.next_observations[b : b + 1, k]), with_predictor=False
            )[0]
            cosine = (p * z.detach()).sum() / (p.norm() * z.norm())
            step = (
                learner.policy_coefficient * policy
                + learner.value_coefficient * value
                + learner.value_prefix_coefficient * prefix
                - learner.consistency_coefficient * cosine
            )
            total = total + batch.mask[b, k] * step / steps
        totals.append(total)
    return torch.stack(totals)


def test_loss_equals_a_loop_over_samples():
    network, batch, learner = make_network(), make_batch(), LearnerConfig()
    terms = compute_loss(network, batch, agent=AGENT, learner=learner)
    expected = slow_loss(network, batch, learner)
    torch.testing.assert_close(terms.loss, expected.mean(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        terms.total, (expected * batch.importance_weights).mean(), rtol=1e-4, atol=1e-5
    )


def test_head_gradients_equal_finite_differences():
    network, batch = make_network(), make_batch()
    learner = LearnerConfig()
    compute_loss(network, batch, agent=AGENT, learner=learner).total.backward()
    heads = {
        n: p
        for n, p in network.named_parameters()
        if p.ndim == 1 and n.endswith("bias") and p.grad is not None
    }
    last_policy_bias = next(p for n, p in heads.items() if "policy" in n and p.numel() == 2)
    for i in range(2):
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                last_policy_bias[i] += sign * 1e-2
            ends.append(compute_loss(network, batch, agent=AGENT, learner=learner).total.item())
            with torch.no_grad():
                last_policy_bias[i] -= sign * 1e-2
        assert last_policy_bias.grad[i].item() == pytest.approx(
            (ends[0] - ends[1]) / 2e-2, abs=1e-3
        )


def test_masked_steps_do_not_count():
    network, learner = make_network(), LearnerConfig()
    batch = make_batch()
    changed = dataclasses.replace(
        batch, values=batch.values.clone(), value_prefixes=batch.value_prefixes.clone()
    )
    changed.values[2, 2:] += 5
    changed.value_prefixes[2, 1:] += 5
    first = compute_loss(network, batch, agent=AGENT, learner=learner)
    second = compute_loss(network, changed, agent=AGENT, learner=learner)
    assert torch.equal(first.total, second.total)


def test_gradient_through_a_dynamics_call_is_halved():
    x = torch.tensor(3.0, requires_grad=True)
    y = scale_gradient(x, 0.5)
    y.backward()
    assert y.item() == 3.0
    assert x.grad.item() == 0.5


def test_consistency_switched_off_never_projects(monkeypatch):
    network = make_network()

    def forbidden(*args, **kwargs):
        raise AssertionError("projected")

    monkeypatch.setattr(network, "project", forbidden)
    terms = compute_loss(
        network, make_batch(), agent=AGENT, learner=LearnerConfig(consistency_coefficient=0.0)
    )
    assert terms.consistency.abs().sum() == 0


def test_consistency_targets_get_no_gradient():
    network = make_network()
    batch = make_batch()
    following = batch.next_observations.clone().requires_grad_()
    compute_loss(
        network,
        dataclasses.replace(batch, next_observations=following),
        agent=AGENT,
        learner=LearnerConfig(),
    ).total.backward()
    assert following.grad is None


def test_priorities_are_absolute_value_errors_at_the_root():
    network, batch = make_network(), make_batch()
    terms = compute_loss(network, batch, agent=AGENT, learner=LearnerConfig())
    values = network.support.decode(network.initial_inference(batch.root_observations).value_logits)
    torch.testing.assert_close(terms.priorities, (values - batch.values[:, 0]).abs())


def test_importance_weights_by_hand():
    weights = importance_weights(torch.tensor([0.5, 0.125]), torch.tensor([8, 8]), 0.5)
    torch.testing.assert_close(weights, torch.tensor([0.5, 1.0]))
