"""Targets of Q(s, a) at the learner: by hand, and against loops over episodes."""

import dataclasses

import pytest
import torch

from efficientzero.config.files import ConfigError
from efficientzero.config.validation import validate
from learner.training.local_targets import LocalTargets
from tests.reference.reference_q_learning import q_target
from tests.support.cases.loss_cases import changed
from tests.support.cases.target_cases import make_case, make_config, observation_at
from tests.support.fakes import tiny_config
from tests.unit.learner.training.test_local_targets import loaded, made, moved
from tests.unit.reanalyzer.targets.test_target_maker import horizon_of

Q = {"agent": {"value_function": "action"}, "learner": {"target_network": "local"}}
RAW = {"value_transform": "identity", "categorical_values": False}


def q_config(*, double=False, **settings):
    config = changed(make_config(bootstrap="network", **settings), **Q)
    return changed(config, agent={"double_q": double}, network=RAW)


def says(network, values):
    """Let the network answer with the same Q for every observation."""
    with torch.no_grad():
        output = network.prediction.action_value_head[-1].output
        output.weight.zero_()
        output.bias.copy_(torch.as_tensor(values))


@pytest.mark.parametrize(("double", "wanted"), [(False, 5.5), (True, 3.7)])
def test_plain_and_double_targets_by_hand(double, wanted):
    # Q_-(s') = [3, 5], Q(s') = [4, 2], r = 1, discount 0.9: 1 + 0.9 * 5, or 1 + 0.9 * 3.
    config = q_config(double=double, td_steps=1)
    _, slices = make_case(config, seed=1)
    batch, network = made(config, slices)
    inputs = loaded(config, batch)
    says(network, [3.0, 5.0])
    targets = LocalTargets(network.train(), config)
    says(network, [4.0, 2.0])
    inputs = dataclasses.replace(
        inputs,
        values=torch.tensor([[1.0, 1.0]]),
        bootstrap_observations=inputs.bootstrap_observations[:1, :2],
        bootstrap_discounts=torch.tensor([[0.9, 0.0]]),  # the second one is terminal
    )
    completed = targets.complete(inputs, 1).values
    torch.testing.assert_close(completed, torch.tensor([[wanted, 1.0]]))
    assert network.training


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("td_steps", [1, 5])
def test_targets_equal_loops_over_whole_episodes(double, td_steps):
    config = q_config(double=double, td_steps=td_steps)
    origins, slices = make_case(config, seed=3)
    batch, network = made(config, slices)
    inputs = loaded(config, batch)
    targets = LocalTargets(network.train(), config)
    frozen = targets._frozen
    moved(network, seed=5)
    completed = targets.complete(inputs, 1).values
    network.eval()

    def values_of(net, episode):
        def values(i):
            observation = torch.tensor(observation_at(episode, i))[None].float()
            said = net.initial_inference(observation)
            return said.action_value_logits[0, :, 0].tolist()

        return values

    differ = 0
    for b, (episode, t) in enumerate(origins[:40]):
        by_target, by_live = values_of(frozen, episode), values_of(network, episode)
        for k in range(config.agent.num_unroll_steps + 1):
            if t + k >= len(episode):
                continue
            settings = {
                "horizon": horizon_of(config, episode, t, slices),
                "discount": config.agent.discount,
                "target_of": by_target,
            }
            wanted = q_target(episode, t + k, **settings, choosing=by_live if double else None)
            plain = q_target(episode, t + k, **settings)
            differ += wanted != plain
            assert float(completed[b, k]) == pytest.approx(wanted, rel=1e-5, abs=1e-5), (b, k)
    assert (differ > 20) == double


@pytest.mark.parametrize("double", [False, True])
def test_a_distribution_is_that_of_the_chosen_action(double):
    atoms = {"value_transform": "identity", "support_bound": 2, "support_bins": 5}
    config = changed(
        q_config(double=double, td_steps=1), agent={"value_distribution": "categorical"}
    )
    config = changed(config, network={**atoms, "categorical_values": True})
    _, slices = make_case(config, seed=1)
    batch, network = made(config, slices)
    inputs = loaded(config, batch)
    # Of the frozen network action 0 has the larger mean, of the live one action 1.
    first, second = [0.0, 0.0, 0.25, 0.5, 0.25], [0.0, 0.5, 0.5, 0.0, 0.0]
    says(network, torch.tensor([*first, *second]).clamp(min=1e-30).log())
    targets = LocalTargets(network.train(), config)
    says(network, torch.tensor([*second, *first]).clamp(min=1e-30).log())
    inputs = dataclasses.replace(
        inputs,
        values=torch.tensor([[0.5]]),
        bootstrap_observations=inputs.bootstrap_observations[:1, :1],
        bootstrap_discounts=torch.tensor([[0.5]]),
    )
    completed = targets.complete(inputs, 1)
    # 0.5 + 0.5 * (-2 .. 2) is -0.5, 0, 0.5, 1, 1.5; of the other action half at 0, half at 0.5.
    wanted = [0, 0, 0.75, 0.25, 0] if double else [0, 0, 0.125, 0.75, 0.125]
    torch.testing.assert_close(completed.value_distributions[0, 0], torch.tensor(wanted))
    mean = 0.5 + 0.5 * (-0.5 if double else 1.0)
    assert float(completed.values) == pytest.approx(mean)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"agent": {"double_q": True}, "learner": {"target_network": "local"}},
            "agent.double_q: got true with agent.value_function state",
        ),
        (
            {"agent": {"double_q": True, "value_function": "action"}},
            "agent.double_q: got true with learner.target_network reanalyzer",
        ),
    ],
)
def test_double_q_without_what_it_needs_is_refused(sections, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        validate(changed(tiny_config(), **sections))
