"""A compiled network learns what the plain one learns; with a compiler, hence slow."""

import pytest
import torch

from efficientzero.metrics.section_timer import SectionTimer
from learner.training.optimizers import make_optimizer
from learner.training.update import Updater
from tests.support.cases.loss_cases import VECTOR, case, in_float32, make_batch, make_network

pytestmark = pytest.mark.slow


def trained(*, compiles):
    config = case(learner={"lr_warmup_fraction": 0.0, "learning_rate": 0.1, "compile": compiles})
    network = make_network(config, VECTOR).float()
    updater = Updater(network, make_optimizer(network, config), config, SectionTimer("learner"))
    for step in range(2):
        batch = in_float32(make_batch(config, VECTOR, size=8, seed=step))
        updater.finish(updater.step(batch, step, measure=False))
    return network


def test_two_updates_of_a_compiled_network_are_those_of_the_plain_one():
    plain, compiled = (trained(compiles=compiles) for compiles in (False, True))
    assert compiled.representation._compiled_call_impl is not None
    assert plain.representation._compiled_call_impl is None
    torch.testing.assert_close(
        compiled.state_dict(), plain.state_dict(), rtol=1e-3, atol=1e-5, check_stride=False
    )
