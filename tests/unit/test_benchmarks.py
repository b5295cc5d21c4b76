"""The benchmarks' own arithmetic, tables and pictures; never how fast this machine is."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.__main__ import main
from benchmarks.curves import mean_curve, read_run
from benchmarks.measuring import Row, cpu_seconds, per_simulation_us
from benchmarks.report import json_lines
from benchmarks.search_cost import (
    FreeNetwork,
    make_network,
    make_observations,
    make_search,
    measure_overhead,
    measure_ratio,
)
from benchmarks.tree_cost import PrecomputedSearch, Shape, measure_trees
from efficientzero.config import NetworkConfig
from efficientzero.schema import EnvSpec

TINY = NetworkConfig(channels=4, reduced_channels=2, lstm_hidden_size=8, support_bound=5)
IMAGES = EnvSpec(
    env_id="Catch-v0",
    frame_shape=(1, 5, 5),
    frame_dtype="uint8",
    num_actions=3,
    num_stacked_frames=1,
)


def evaluation(env_steps: int, returns: list[float], *, is_final: bool = False) -> str:
    values = {
        "weights_version": env_steps // 2,
        "is_final": is_final,
        "returns": returns,
        "return_mean": sum(returns) / len(returns),
        "env_steps": env_steps,
        "train_steps": env_steps // 2,
        "wall_s": env_steps * 0.6,
    }
    return json.dumps(values) + "\n"


def make_run(directory, seed: int, *lines: str, env_id: str = "CartPole-v1"):
    directory.mkdir()
    config = {"seed": seed, "preset": "cartpole", "env": {"id": env_id}}
    (directory / "config.json").write_text(json.dumps({"config": config}))
    (directory / "evaluations.jsonl").write_text("".join(lines))
    return str(directory)


def test_curves_writes_a_small_picture_and_a_table_sorted_by_seed(tmp_path, capsys):
    second = make_run(
        tmp_path / "b",
        2,
        evaluation(1000, [100.0, 200.0]),
        evaluation(2000, [500.0, 400.0, 300.0], is_final=True),
    )
    first = make_run(tmp_path / "a", 1, evaluation(900, [90.0]), evaluation(1800, [250.0, 150.0]))
    out = tmp_path / "docs" / "cartpole.png"
    assert main(["curves", second, first, "--out", str(out), "--target", "475"]) == 0
    assert out.read_bytes().startswith(b"\x89PNG")
    assert out.stat().st_size < 150_000
    assert out.with_suffix(".md").read_text().splitlines()[2:] == [
        "| 1 | 200.0 (newest, not final) | 2 | 1800 | 900 | 18.0 |",
        "| 2 | 400.0 | 3 | 2000 | 1000 | 20.0 |",
    ]
    assert "cartpole.md" in capsys.readouterr().out


def test_mean_curve_interpolates_at_every_point_that_all_curves_cover():
    falling = (np.array([0.0, 10.0, 20.0]), np.array([30.0, 20.0, 10.0]))
    flat = (np.array([5.0, 15.0]), np.array([1.0, 1.0]))
    points, means = mean_curve([falling, flat])
    assert points.tolist() == [5.0, 10.0, 15.0]
    assert means.tolist() == [13.0, 10.5, 8.0]


def test_mean_curve_of_curves_apart_is_empty():
    points, means = mean_curve(
        [(np.array([0.0, 1.0]), np.zeros(2)), (np.array([2.0, 3.0]), np.ones(2))]
    )
    assert points.size == means.size == 0


def test_line_still_being_written_is_left_out(tmp_path):
    directory = make_run(tmp_path / "a", 0, evaluation(1000, [1.0]), '{"weights_ver')
    assert len(read_run(tmp_path / "a").evaluations) == 1, directory


@pytest.mark.parametrize("lines", [(), ('{"env_steps": 3}\n',), ("no JSON\n",)])
def test_folder_without_evaluations_is_refused_in_one_line(tmp_path, capsys, lines):
    directory = make_run(tmp_path / "a", 0, *lines)
    assert main(["curves", directory, "--out", str(tmp_path / "x.png")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"benchmarks: error: {directory}: ")


def test_runs_of_different_tasks_are_not_averaged(tmp_path, capsys):
    first = make_run(tmp_path / "a", 0, evaluation(1000, [1.0]))
    second = make_run(tmp_path / "b", 1, evaluation(1000, [1.0]), env_id="Catch-v0")
    assert main(["curves", first, second, "--out", str(tmp_path / "x.png")]) == 2
    assert "CartPole-v1 (cartpole) and Catch-v0 (cartpole)" in capsys.readouterr().err


def test_row_holds_up_to_and_including_its_limit():
    row = Row(name="a", value=0.5, unit="us", must=0.5)
    assert row.holds is True
    assert replace(row, value=0.51).holds is False
    assert replace(row, must=None).holds is None


def test_json_has_one_object_a_line_and_the_machine_first():
    rows = [Row(name="a", value=1.0, unit="x", must=0.5), Row(name="b", value=2.0, unit="us")]
    header, *objects = map(json.loads, json_lines(rows, machine="two cores").splitlines())
    assert (header["name"], header["value"]) == ("machine", "two cores")
    got = [[o[key] for key in ("name", "value", "unit", "must", "holds")] for o in objects]
    assert got == [["a", 1.0, "x", 0.5, False], ["b", 2.0, "us", None, None]]


def test_rounds_take_turns_and_the_first_is_not_counted():
    calls: list[str] = []
    samples = cpu_seconds(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=2
    )
    assert calls == ["a", "b"] * 3
    assert {name: len(spent) for name, spent in samples.items()} == {"a": 2, "b": 2}


def test_cost_is_spread_over_roots_and_simulations():
    assert math.isclose(per_simulation_us(0.64, num_roots=64, num_simulations=50), 200.0)


def test_precomputed_search_makes_every_simulation_of_every_tree():
    search = PrecomputedSearch(Shape(7, 3, 4, None), np.random.default_rng(0))
    search.run_floor()
    search.run()
    visit_counts = np.empty((4, 3), np.int32)
    search.trees.visit_counts(visit_counts)
    assert visit_counts.sum(axis=1).tolist() == [7] * 4


def test_trees_are_reported_with_limit_floor_and_growth_over_equal_sizes():
    shapes = (Shape(4, 3, 8, None), Shape(8, 3, 8, 1e9), Shape(16, 5, 8, None))
    *rows, growth = measure_trees(shapes, rounds=2)
    assert [row.name for row in rows] == [
        "tree M=4 A=3 B=8",
        "tree M=8 A=3 B=8",
        "tree M=16 A=5 B=8",
    ]
    assert [row.holds for row in rows] == [None, True, None]
    assert all(row.times_floor is not None and row.times_floor > 0 for row in rows)
    assert growth.name == "tree growth M=4 to M=8 A=3"
    assert math.isclose(growth.value, rows[1].value / rows[0].value)


def test_free_network_gives_a_complete_search_without_any_weights():
    network = make_network(FreeNetwork, TINY, IMAGES)
    observations = make_observations(3, IMAGES)
    search = make_search(network, 3, "eager")
    with torch.inference_mode():
        network.prepare(observations, num_simulations=search.num_simulations, seed=0)
    for parameter in network.parameters():
        parameter.data.fill_(math.nan)
    result = search.run(observations, exploration_noise=True)
    assert result.visit_counts.sum(axis=1).tolist() == [search.num_simulations] * 3
    assert np.isfinite(result.root_values).all()


def test_search_is_reported_against_bare_calls_and_around_a_free_network():
    ratio, search, bare = measure_ratio(2, rounds=1, config=TINY, spec=IMAGES)
    assert (ratio.unit, ratio.must) == ("x", 1.05)
    assert math.isclose(ratio.fastest, search.fastest / bare.fastest)
    free, without_decoding = measure_overhead(2, rounds=1, config=TINY, spec=IMAGES)
    assert min(search.value, free.value, without_decoding.value) > 0
