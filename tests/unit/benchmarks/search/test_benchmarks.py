"""The benchmarks' own arithmetic, tables and pictures; never how fast this machine is."""

import importlib.util
import json
import math
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.__main__ import main
from benchmarks.measuring import Row, cost_row, cpu_seconds, ratio_row, wall_seconds
from benchmarks.report import json_lines, make_table
from benchmarks.search.beside_mctx import MctxProcess, measure_beside
from benchmarks.search.plain_loop import (
    PlainLoop,
    PlainNetwork,
    measure_free_plain_loop,
    measure_plain_loop,
)
from benchmarks.search.search_cost import (
    FreeNetwork,
    make_network,
    make_observations,
    make_search,
    measure_overhead,
    measure_ratio,
    prepare,
)
from benchmarks.search.tree_cost import PrecomputedSearch, Shape, measure_trees
from benchmarks.search.tree_footprint import measure_bytes, measure_instructions, rows_from_counts
from benchmarks.search.tree_threads import measure_threads
from efficientzero.config.fields import NetworkConfig
from efficientzero.inference.cpu import _kernels
from efficientzero.networks import EfficientZeroNet
from efficientzero.schema import EnvSpec, Roots
from tests.support.cases.mcts_cases import searched_alike

TINY = NetworkConfig(channels=4, reduced_channels=2, lstm_hidden_size=8, support_bound=5)
IMAGES = EnvSpec(
    env_id="Catch-v0",
    frame_shape=(1, 5, 5),
    frame_dtype="uint8",
    num_actions=3,
    num_stacked_frames=1,
)


def test_row_holds_up_to_and_including_its_limit():
    row = Row(name="a", value=0.5, unit="us", must=0.5)
    assert row.holds is True
    assert replace(row, value=0.51).holds is False
    assert replace(row, must=None).holds is None
    assert replace(row, value=None).holds is None


def test_row_can_demand_at_least_its_limit():
    row = Row(name="a", value=1.7, unit="x", must=1.7, at_least=True)
    assert row.holds is True
    assert replace(row, value=1.69).holds is False


def test_json_has_one_object_a_line_and_the_machine_first():
    rows = [Row(name="a", value=1.0, unit="x", must=0.5), Row(name="b", value=2.0, unit="us")]
    header, *objects = map(json.loads, json_lines(rows, machine="two cores").splitlines())
    assert (header["name"], header["value"]) == ("machine", "two cores")
    got = [[o[key] for key in ("name", "value", "unit", "must", "holds")] for o in objects]
    assert got == [["a", 1.0, "x", 0.5, False], ["b", 2.0, "us", None, None]]


def test_table_says_why_a_row_has_no_value():
    table = make_table([Row(name="a", value=None, unit="", must=2500.0, note="no valgrind")])
    cells = [next(iter(column.cells)) for column in table.columns]
    assert cells == ["a", "", "", "", "<= 2500", "", "", "no valgrind"]


@pytest.mark.parametrize("measure", [cpu_seconds, wall_seconds])
def test_rounds_take_turns_and_the_first_is_not_counted(measure):
    calls: list[str] = []
    samples = measure({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=2)
    assert calls == ["a", "b"] * 3
    assert {name: len(spent) for name, spent in samples.items()} == {"a": 2, "b": 2}


def test_cost_is_spread_over_roots_and_simulations():
    row = cost_row("a", [0.64, 0.32, 6.4], num_roots=64, num_simulations=50)
    assert math.isclose(row.value, 200.0)
    assert math.isclose(row.fastest, 100.0)


def test_ratio_is_the_median_over_rounds_and_that_of_the_fastest():
    row = ratio_row("a", [2.0, 9.0, 3.0], [1.0, 3.0, 3.0])
    assert (row.value, row.fastest) == (2.0, 2.0)


def test_precomputed_search_makes_every_simulation_of_every_tree():
    search = PrecomputedSearch(Shape(7, 3, 4, None), np.random.default_rng(0))
    search.run_floor()
    search.run()
    visit_counts = np.empty((4, 3), np.int32)
    search.trees.visit_counts(visit_counts)
    assert visit_counts.sum(axis=1).tolist() == [7] * 4


def test_trees_are_reported_with_limit_floor_gumbel_ratio_and_growth_over_equal_sizes():
    shapes = (
        Shape(4, 3, 8),
        Shape(8, 3, 8, 1e9),
        Shape(8, 3, 8, 0.0, "gumbel"),
        Shape(16, 5, 8),
    )
    *rows, ratio, growth = measure_trees(shapes, rounds=1)
    assert [row.name for row in rows] == [
        "tree M=4 A=3 B=8",
        "tree M=8 A=3 B=8",
        "gumbel M=8 A=3 B=8",
        "tree M=16 A=5 B=8",
    ]
    assert [row.holds for row in rows] == [None, True, False, None]
    assert all(row.times_floor is not None and row.times_floor > 0 for row in rows)
    assert (ratio.name, ratio.must) == ("gumbel / tree M=8 A=3 B=8", 1.5)
    assert math.isclose(ratio.value, rows[2].value / rows[1].value)
    assert growth.name == "tree growth M=4 to M=8 A=3"
    assert math.isclose(growth.value, rows[1].value / rows[0].value)


def test_precomputed_gumbel_search_draws_noise_only_where_asked():
    shape = Shape(4, 6, 32, None, "gumbel")
    weights = np.empty((2, 3, 32, 6), np.float32)
    for row, draw_noise in enumerate((False, True)):
        search = PrecomputedSearch(shape, np.random.default_rng(0), draw_noise=draw_noise)
        for run in range(3):
            search.run()
            search.trees.action_weights(weights[row, run])
    assert np.ptp(weights[0], axis=0).max() == 0
    assert np.ptp(weights[1], axis=0).max() > 0


def test_second_thread_is_reported_as_a_gain():
    (row,) = measure_threads((Shape(2, 3, 32),), rounds=1)
    assert row.name == "2 threads for 1 M=2 A=3 B=32"
    assert row.note == "one core only" or (row.value > 0 and row.at_least)


def test_bytes_are_counted_against_twelve_per_action():
    puct, gumbel = measure_bytes(num_simulations=50, num_actions=18)
    # (14 * 24 + 16 -> 384) * 51 + 404 -> 448, and the tree object
    assert 384 * 51 + 448 < puct.value * 51 * 18 * 12 < 384 * 51 + 448 + 256
    assert puct.value < gumbel.value < 2.0


def test_counted_instructions_are_limited_at_fifty_simulations_and_six_actions():
    lines = [f'{{"name": "{name}", "value": 2501}}' for name in ("puct M=50 A=6", "puct M=50 A=18")]
    assert [(row.value, row.holds) for row in rows_from_counts(lines)] == [
        (2501, False),
        (2501, None),
    ]


def test_without_valgrind_instructions_are_no_failure(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    rows = measure_instructions(tmp_path / "build")
    assert {row.note for row in rows} == {"valgrind not installed"}
    assert {(row.value, row.holds) for row in rows} == {(None, None)}


def test_plain_network_answers_as_the_network_it_copies():
    network = make_network(EfficientZeroNet, TINY, IMAGES)
    plain = PlainNetwork(network)
    generator = torch.Generator().manual_seed(1)
    observations, actions = torch.rand(4, 1, 5, 5, generator=generator), torch.tensor([0, 1, 2, 1])
    states = torch.rand(4, 2, 8, generator=generator)
    with torch.no_grad():
        root = network.initial_inference(observations)
        step = network.recurrent_inference(root.latents, states, actions)
        plain_root = plain.initial_inference(observations)
        answer = plain.recurrent_inference(
            root.latents.contiguous(),
            states[:, 0][None].contiguous(),
            states[:, 1][None].contiguous(),
            actions[:, None],
        )
        prefixes, values = map(
            network.support.decode, (step.value_prefix_logits, step.value_logits)
        )
    wanted = (step.latents, step.lstm_states[:, 0][None], step.lstm_states[:, 1][None])
    for got, want in zip(answer, (*wanted, prefixes, values, step.policy_logits), strict=True):
        np.testing.assert_allclose(got, want.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(plain_root.latents, root.latents, rtol=1e-4, atol=1e-5)


def test_plain_loop_finds_what_the_search_finds():
    network = make_network(EfficientZeroNet, TINY, IMAGES)
    observations = make_observations(30, IMAGES)
    plain = PlainLoop(network, 30, np.random.default_rng(0))
    result = make_search(network, 30).run(Roots(observations), exploration_noise=False)
    visit_counts, root_values = plain.run(observations.numpy(), exploration_noise=False)
    same = searched_alike(np.array(visit_counts), result.visit_counts)
    np.testing.assert_allclose(
        np.array(root_values)[same], result.root_values[same], rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize(
    ("instruction_set", "batch_size", "must"),
    [("avx512", 8, 3.0), ("avx512", 64, 2.0), ("avx2", 8, 1.7), ("avx2", 64, 1.5)],
)
def test_plain_loop_is_reported_with_the_gain_demanded_of_such_a_processor(
    instruction_set, batch_size, must, monkeypatch
):
    monkeypatch.setattr(_kernels, "INSTRUCTION_SET", instruction_set)
    ratio, plain = measure_plain_loop(batch_size, rounds=1, config=TINY, spec=IMAGES)
    assert (ratio.must, ratio.at_least) == (must, True)
    assert ratio.note == f"{instruction_set} kernels"
    assert min(ratio.value, plain.value) > 0


def test_nothing_is_demanded_where_nothing_was_measured(monkeypatch):
    monkeypatch.setattr(_kernels, "INSTRUCTION_SET", "portable")
    for measure in (measure_plain_loop, measure_free_plain_loop):
        ratio, _ = measure(8, rounds=1, config=TINY, spec=IMAGES)
        assert (ratio.must, ratio.holds, ratio.note) == (None, None, "portable kernels")


def test_plain_loop_around_a_free_network_finds_what_the_search_around_it_finds():
    network = make_network(FreeNetwork, TINY, IMAGES)
    observations = make_observations(30, IMAGES)
    prepare(network, observations)
    plain = PlainLoop(network, 30, np.random.default_rng(0))
    visit_counts, root_values = plain.run(observations.numpy(), exploration_noise=False)
    search = make_search(network, 30)
    for _ in range(2):  # the second starts anew
        result = search.run(Roots(observations), exploration_noise=False)
        same = searched_alike(np.array(visit_counts), result.visit_counts)
        np.testing.assert_allclose(
            np.array(root_values)[same], result.root_values[same], rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize(("instruction_set", "must"), [("avx512", 10.0), ("avx2", 7.0)])
def test_free_loop_is_reported_with_the_gain_demanded_of_such_a_processor(
    instruction_set, must, monkeypatch
):
    monkeypatch.setattr(_kernels, "INSTRUCTION_SET", instruction_set)
    ratio, cost = measure_free_plain_loop(2, rounds=1, config=TINY, spec=IMAGES)
    assert (ratio.must, ratio.at_least) == (must, True)
    assert min(ratio.value, cost.value) > 0


def test_free_network_gives_a_complete_search_without_any_weights():
    network = make_network(FreeNetwork, TINY, IMAGES)
    observations = make_observations(3, IMAGES)
    prepare(network, observations)
    search = make_search(network, 3)
    for parameter in network.parameters():
        parameter.data.fill_(math.nan)
    result = search.run(Roots(observations), exploration_noise=True)
    assert result.visit_counts.sum(axis=1).tolist() == [search.num_simulations] * 3
    assert np.isfinite(result.root_values).all()


def test_search_is_reported_against_bare_calls_and_around_a_free_network():
    ratio, search, bare = measure_ratio(2, rounds=1, config=TINY, spec=IMAGES)
    assert (ratio.unit, ratio.must) == ("x", 1.05)
    assert math.isclose(ratio.fastest, search.fastest / bare.fastest)
    free, without_decoding = measure_overhead(2, rounds=1, config=TINY, spec=IMAGES)
    assert min(search.value, free.value, without_decoding.value) > 0


def test_mctx_without_an_interpreter_says_how_to_make_one(capsys):
    assert main(["mctx"]) == 0
    assert "pip install mctx jax" in capsys.readouterr().out


def test_mctx_in_an_interpreter_that_cannot_run_it_is_refused(tmp_path, capsys):
    assert main(["mctx", "--python", str(tmp_path / "python")]) == 2
    assert "No such file" in capsys.readouterr().err


def test_interpreter_that_ends_early_is_reported():
    with (
        MctxProcess("/bin/true", (Shape(2, 3, 4),)) as process,
        pytest.raises(ValueError, match="does it have mctx and jax"),
    ):
        process.versions()


@pytest.mark.skipif(importlib.util.find_spec("mctx") is None, reason="mctx is not installed")
def test_mctx_is_measured_beside_the_trees():
    shapes = (Shape(4, 3, 8, None, "gumbel"),)
    with MctxProcess(sys.executable, shapes) as process:
        assert "mctx" in process.versions()
        ours, theirs, ratio = measure_beside(process, shapes, rounds=1)
    assert math.isclose(ratio.value, theirs.value / ours.value)
