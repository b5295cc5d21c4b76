"""A simulation in place against one that gathers and copies: the same numbers, to the last bit."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from efficientzero.config.fields import AgentConfig, SearchConfig
from efficientzero.inference import search_network
from efficientzero.inference.cpu import kernels
from efficientzero.inference.cpu.in_place import InPlaceStep, Logits, in_place_step
from efficientzero.inference.node_pools import NUM_INDEX_ROWS, PARENTS, NodePools
from efficientzero.inference.search_network import LatentPool, SearchNetwork
from efficientzero.schema import Roots
from efficientzero.search.batched_search import BatchedSearch
from tests.unit.efficientzero.inference.test_folded_network import (
    ATARI,
    NARROW,
    SMALL_IMAGE,
    VECTOR,
    WIDE,
    build,
    observations_for,
    pool_numbers,
)

ONE_BLOCK = replace(WIDE, num_blocks=1)
MIDDLING_IMAGE = replace(SMALL_IMAGE, frame_shape=(2, 24, 21))


@pytest.fixture
def any_set_is_quick(monkeypatch):
    """Use our kernels even where they are compiled for any processor, and too slow to pay."""
    monkeypatch.setattr(kernels, "_IS_QUICK", True)


@pytest.mark.usefixtures("any_set_is_quick")
@pytest.mark.parametrize("value_prefix", [True, False])
@pytest.mark.parametrize(
    ("spec", "config", "batch"),
    [
        (SMALL_IMAGE, WIDE, 1),
        (SMALL_IMAGE, ONE_BLOCK, 7),
        (SMALL_IMAGE, WIDE, 20),
        (ATARI, ONE_BLOCK, 3),
        (MIDDLING_IMAGE, replace(ONE_BLOCK, downsample=4), 3),
    ],
)
def test_numbers_in_place_are_those_of_gathered_parents(
    spec, config, batch, value_prefix, monkeypatch
):
    network = build(spec, config, value_prefix=value_prefix)
    searched = SearchNetwork(network, backend="folded", precision="auto", batch_size=batch)
    pool = LatentPool(searched, batch, num_nodes=5)
    assert isinstance(pool._step, InPlaceStep)
    monkeypatch.setattr(search_network, "in_place_step", lambda *_: None)
    gathering = LatentPool(searched, batch, num_nodes=5)
    assert not isinstance(gathering._step, InPlaceStep)
    for seed in (None, 7):
        if seed is not None:
            newer = build(spec, config, value_prefix=value_prefix, seed=seed)
            network.load_inference_state_dict(newer.inference_state_dict())
        got = pool_numbers(searched, pool, spec, batch)
        wanted = pool_numbers(searched, gathering, spec, batch)
        assert torch.equal(got, wanted)
        assert torch.equal(pool._pools.latents, gathering._pools.latents)


@pytest.mark.usefixtures("any_set_is_quick")
@pytest.mark.parametrize("num_roots", [1, 6])
def test_a_search_in_place_finds_what_a_gathering_one_finds(num_roots, monkeypatch):
    network = build(SMALL_IMAGE, ONE_BLOCK)

    def run():
        search = BatchedSearch(
            network,
            search=SearchConfig(num_simulations=20, inference_backend="folded"),
            agent=AgentConfig(value_prefix_horizon=2),
            policy_width=SMALL_IMAGE.num_actions,
            batch_size=6,
            device=torch.device("cpu"),
            generator=np.random.default_rng(0),
        )
        observations = observations_for(SMALL_IMAGE, num_roots)
        return [search.run(Roots(observations), exploration_noise=True) for _ in range(2)]

    in_place = run()
    monkeypatch.setattr(search_network, "in_place_step", lambda *_: None)
    for got, wanted in zip(in_place, run(), strict=True):
        for column, other in zip(got, wanted, strict=True):
            np.testing.assert_array_equal(column, other)


@pytest.mark.usefixtures("any_set_is_quick")
@pytest.mark.parametrize(
    ("spec", "config", "value_prefix", "fits"),
    [
        (SMALL_IMAGE, WIDE, True, True),
        (SMALL_IMAGE, NARROW, True, False),
        (SMALL_IMAGE, replace(WIDE, lstm_hidden_size=12), True, False),
        (SMALL_IMAGE, replace(WIDE, lstm_hidden_size=12), False, True),
        (VECTOR, WIDE, True, False),
    ],
)
def test_only_networks_of_our_kernels_work_in_place(spec, config, value_prefix, fits):
    network = build(spec, config, value_prefix=value_prefix)
    searched = SearchNetwork(network, backend="folded", precision="auto", batch_size=2)
    step = LatentPool(searched, 2, num_nodes=2)._step
    assert isinstance(step, InPlaceStep) == fits


@pytest.mark.usefixtures("any_set_is_quick")
@pytest.mark.parametrize("parent", [-1, 5, 2**31 - 1])
def test_a_parent_outside_of_the_pool_is_refused_and_nothing_is_written(parent):
    network = build(SMALL_IMAGE, ONE_BLOCK)
    searched = SearchNetwork(network, backend="folded", precision="auto", batch_size=3)
    pool = LatentPool(searched, 3, num_nodes=5)
    indices = torch.zeros((NUM_INDEX_ROWS, 3), dtype=torch.int32)
    indices[PARENTS, 1] = parent
    with torch.inference_mode(), pytest.raises(Exception, match=rf"got {parent} for row 1.*less"):
        pool.step(indices, 1)
    assert not pool._pools.latents.any()


def test_a_network_that_adds_nodes_itself_is_asked_to():
    network = build(VECTOR)
    asked = []

    def recurrent_inference_into(pools, indices, node):
        asked.append(node)
        no_value = torch.zeros(2, network.support.num_bins)
        return Logits(no_value, no_value, torch.ones(2, 3))

    pools = NodePools(torch.zeros(4, 2, 16), torch.zeros(4, 2, 2, 12))
    network.recurrent_inference_into = recurrent_inference_into
    numbers = in_place_step(network, pools)(torch.zeros((4, 2), dtype=torch.int32), 3)
    assert asked == [3]
    assert numbers.tolist() == pytest.approx([0.0] * 4 + [1.0] * 6, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("instruction_set", ["portable", "avx2"])
def test_all_of_this_holds_for_narrower_registers(instruction_set):
    environment = {**os.environ, "EFFICIENTZERO_KERNELS": instruction_set}
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not slow", __file__]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout
