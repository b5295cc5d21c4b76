"""The one reading of a network's outputs, and the order of a simulation's numbers."""

import dataclasses
from pathlib import Path

import pytest
import torch

from efficientzero.config import NetworkConfig
from efficientzero.inference.cpu.folded_network import FoldedNetwork
from efficientzero.networks import StepAnswers, node_answers, step_answers
from efficientzero.schema import EnvSpec
from tests.support.networks import sized_network

ROOT = Path(__file__).resolve().parents[4]
SPEC = EnvSpec(
    env_id="v", frame_shape=(4,), frame_dtype="float32", num_actions=3, num_stacked_frames=1
)
SIZES = NetworkConfig(
    mlp_latent_size=8, mlp_hidden_size=8, lstm_hidden_size=16, head_hidden_size=8,
    support_bound=5, zero_init_heads=False,
)  # fmt: skip


def build(*, categorical, folded):
    torch.manual_seed(0)
    sizes = dataclasses.replace(SIZES, categorical_values=categorical)
    network = sized_network(sizes, SPEC).eval()
    return FoldedNetwork(network).network if folded else network


@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize("categorical", [True, False])
@torch.no_grad()
def test_answers_are_the_decoded_outputs_written_or_returned(categorical, folded):
    network = build(categorical=categorical, folded=folded)
    root = network.initial_inference(torch.randn(5, 4))
    step = network.recurrent_inference(
        root.latents, network.initial_lstm_states(5), torch.arange(5) % 3
    )
    values, priors = node_answers(root, network.answer_rule)
    torch.testing.assert_close(values, network.support.decode(root.value_logits), rtol=0, atol=0)
    torch.testing.assert_close(priors, root.policy_logits, rtol=0, atol=0)

    answers = step_answers(step, network.answer_rule)
    decoded = network.support.decode(step.value_prefix_logits)
    torch.testing.assert_close(answers.value_prefixes, decoded, rtol=0, atol=0)
    assert not torch.equal(answers.value_prefixes, answers.values)
    numbers = torch.full((StepAnswers.size(5, 3),), torch.nan)
    network.answer_rule.write_step(step, StepAnswers.within(numbers, 3))
    torch.testing.assert_close(numbers, answers.joined(), rtol=0, atol=0)


def test_numbers_lie_in_the_order_in_which_trees_take_them():
    numbers = torch.arange(StepAnswers.size(2, 3)).float()
    answers = StepAnswers.within(numbers, 3)
    assert [part.tolist() for part in answers] == [[0, 1], [2, 3], [[4, 5, 6], [7, 8, 9]]]
    assert torch.equal(answers.joined(), numbers)
    answers.values[1] = -1.0
    assert numbers[3] == -1.0


def test_nobody_else_decodes_outputs():
    packages = ("efficientzero", "actor", "reanalyzer", "learner")
    decoding = {
        str(path.relative_to(ROOT))
        for package in packages
        for path in (ROOT / package).rglob("*.py")
        if "support.decode" in path.read_text()
    }
    assert decoding == {"efficientzero/networks/node_answers.py"}
