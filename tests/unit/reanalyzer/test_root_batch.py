"""How many roots are searched at once."""

import dataclasses

import numpy as np
import pytest
import torch

from deploy.checks.process_memory import process_memory
from efficientzero.config.derived import most_roots
from efficientzero.config.files import ConfigError
from efficientzero.config.validation import validate
from efficientzero.inference.timing import step_seconds
from efficientzero.networks import make_network
from efficientzero.schema import EnvSpec, Roots
from learner.training.network import train_step_cost
from reanalyzer.root_batch import (
    candidate_sizes,
    choose_size,
    equal_parts,
    reanalysis_search,
    root_batch_size,
    value_batch_size,
)
from tests.support.fakes import tiny_config

SPEC = EnvSpec(
    env_id="x", frame_shape=(3,), frame_dtype="float32", num_actions=2, num_stacked_frames=1
)


def with_ratio(ratio, search_batch_size=0):
    config = tiny_config()
    reanalyzer = dataclasses.replace(
        config.reanalyzer, policy_reanalyze_ratio=ratio, search_batch_size=search_batch_size
    )
    return dataclasses.replace(config, reanalyzer=reanalyzer)


def test_roots_are_those_of_the_freshly_searched_slices():
    config = with_ratio(0.5)
    slices = config.learner.batch_size // 2
    assert most_roots(config) == slices * (config.agent.num_unroll_steps + 1)
    assert most_roots(with_ratio(0.0)) == 1


def test_without_a_policy_loss_no_root_is_needed():
    config = with_ratio(0.5)
    untrained = dataclasses.replace(
        config, learner=dataclasses.replace(config.learner, policy_coefficient=0.0)
    )
    assert most_roots(untrained) == 1
    # Else the network would be asked for its values one by one.
    assert value_batch_size(untrained, 1) == value_batch_size(with_ratio(0.0), 1) == 256
    assert value_batch_size(config, 17) == 17


def test_parts_are_equal_and_no_larger_than_asked_for():
    assert equal_parts(48, 20) == 16
    assert equal_parts(1518, 2048) == 1518
    assert equal_parts(5, 1) == 1


def test_candidates_halve_down_to_small_ones():
    assert candidate_sizes(384) == [384, 192, 96, 48, 24]
    assert candidate_sizes(1) == [1]
    assert candidate_sizes(10_000)[0] == 2000


def test_the_largest_of_equally_fast_sizes_is_chosen():
    costs = {100: 104.0, 50: 50.0, 25: 30.0}  # per root: 1.04, 1.0, 1.2
    assert choose_size(costs) == 100
    assert choose_size({**costs, 100: 208.0}) == 50


def test_a_configured_size_is_kept_and_a_timed_one_is_a_candidate():
    config = with_ratio(1.0, search_batch_size=7)
    network = make_network(config, SPEC, training=False).eval()
    cpu = torch.device("cpu")
    assert root_batch_size(config, network, cpu) == equal_parts(most_roots(config), 7)
    timed = with_ratio(1.0)
    assert root_batch_size(timed, network, cpu) in candidate_sizes(most_roots(timed))


def test_deterministic_run_takes_a_size_that_no_clock_chose(monkeypatch):
    def timed(*arguments):
        raise AssertionError("timed")

    monkeypatch.setattr("reanalyzer.root_batch.step_seconds", timed)
    config = with_ratio(1.0)
    config = dataclasses.replace(
        config,
        learner=dataclasses.replace(config.learner, batch_size=100),
        cluster=dataclasses.replace(config.cluster, deterministic=True),
    )
    network = make_network(config, SPEC, training=False)
    # 600 roots in three parts of at most 256.
    assert root_batch_size(config, network, torch.device("cpu")) == 200


def test_on_a_cpu_the_clock_is_the_process_own(monkeypatch):
    """What other processes do while this one waits must not choose a size."""
    network = make_network(tiny_config(), SPEC, training=False).eval()
    search, cpu = tiny_config().search, torch.device("cpu")
    slow = iter(range(10**6))
    monkeypatch.setattr(
        "efficientzero.inference.timing.time.perf_counter", lambda: 1e3 * next(slow)
    )
    seconds = step_seconds(search, network, cpu, [8, 2, 4])
    assert list(seconds) == [8, 2, 4]
    assert all(0 < cost < 1 for cost in seconds.values())


def with_simulations(number, algorithm="puct"):
    config = tiny_config()
    return dataclasses.replace(
        config,
        search=dataclasses.replace(config.search, algorithm=algorithm),
        reanalyzer=dataclasses.replace(config.reanalyzer, search_simulations=number),
    )


@pytest.mark.parametrize("algorithm", ["puct", "gumbel"])
@pytest.mark.parametrize(("number", "wanted"), [(0, 6), (2, 2), (9, 9)])
def test_reanalyzers_search_with_their_own_simulations_if_they_have_any(number, wanted, algorithm):
    config = with_simulations(number, algorithm)
    network = make_network(config, SPEC, training=False).eval()
    generator = np.random.default_rng(0)
    search = reanalysis_search(config, SPEC, network, torch.device("cpu"), generator)
    assert search.num_simulations == wanted
    observations = np.random.default_rng(1).normal(size=(3, 3)).astype(np.float32)
    found = search.run(Roots(observations), exploration_noise=True)
    assert (found.visit_counts.sum(1) == wanted).all()
    np.testing.assert_allclose(found.policies.sum(1), 1, rtol=1e-5)


def test_one_simulation_whose_visit_counts_are_the_policy_is_refused():
    message = "reanalyzer.search_simulations: got 1 with search.algorithm puct, wanted 0, at least"
    with pytest.raises(ConfigError, match=message):
        validate(with_simulations(1))
    validate(with_simulations(1, "gumbel"))
    validate(with_simulations(2))


def test_cost_and_memory_are_those_of_the_reanalyzers_own_simulations():
    few, many = with_simulations(2), with_simulations(200)
    network = make_network(few, SPEC, training=True)
    costs = [train_step_cost(network, config) for config in (few, many)]
    assert costs[0].training == costs[1].training
    assert costs[0].searching < 0.1 * costs[1].searching
    memory = [process_memory(config, SPEC) for config in (few, many)]
    assert memory[0].pop("reanalyzer") < memory[1].pop("reanalyzer")
    assert memory[0] == memory[1]
