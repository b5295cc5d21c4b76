"""The report's numbers against hand-computed ones, and its page against the runs it is of."""

import base64
import re

import numpy as np
import pytest

from deploy.report.__main__ import Options, write_report
from deploy.report.content import common_curve, make_sections
from deploy.report.estimates import aggregate, band, improvement, without_each
from deploy.report.figures import wrapped
from deploy.report.runs import ReportError, method_of, read_runs
from deploy.report.scores import make_scales, score_matrices
from tests.report_cases import make_run

SAMPLES = 50
RUNS = [
    make_run("base", "Catch-v0", 0, [(0, -1.0), (100, 0.0)]),
    make_run("base", "Catch-v0", 1, [(0, -1.0), (100, 1.0)]),
    make_run("base", "ALE/Pong-v5", 0, [(0, -20.7), (100, 14.6)]),
    make_run("base", "ALE/Pong-v5", 1, [(0, -20.7), (100, -20.7)]),
    make_run("lr=1", "Catch-v0", 0, [(0, -1.0), (100, -1.0)], fairness={"replay_ratio": 3.5}),
    make_run("lr=1", "ALE/Pong-v5", 0, [(0, -20.7), (100, 14.6)]),
    make_run("lr=1", "ALE/Pong-v5", 7, [(0, -20.7), (100, 0.0)]),
]


def test_scores_are_human_normalised_or_scaled_by_what_is_possible():
    matrices = score_matrices(RUNS, make_scales(RUNS))  # Pong, Catch
    np.testing.assert_allclose(matrices["base"], [[1.0, 0.5], [0.0, 1.0]], atol=1e-12)
    # One seed of Catch: only the first of Pong counts.
    np.testing.assert_allclose(matrices["lr=1"], [[1.0, 0.0]], atol=1e-12)


def test_an_unknown_environment_is_scaled_by_the_runs_themselves():
    runs = [make_run("a", "Else-v0", seed, [(1, score)]) for seed, score in enumerate((4, 6, 9))]
    matrix = score_matrices(runs, make_scales(runs))["a"]
    np.testing.assert_allclose(matrix[:, 0], [0.0, 0.4, 1.0])


def test_methods_without_a_common_environment_are_refused():
    runs = [make_run("a", "Catch-v0", 0, [(1, 0)]), make_run("b", "CartPole-v1", 0, [(1, 0)])]
    with pytest.raises(ReportError, match="got no environment"):
        score_matrices(runs, make_scales(runs))


def test_aggregates_are_those_of_their_definitions():
    # Eight scores: the middle half is 3, 4, 5, 6. Means of the environments: 2.5 and 6.5.
    matrix = np.array([[1.0, 5.0], [2.0, 6.0], [3.0, 7.0], [4.0, 8.0]])
    estimates = aggregate({"a": matrix, "b": np.full((3, 2), 0.25)}, samples=SAMPLES)
    assert estimates["IQM"]["a"].value == 4.5
    assert estimates["mean"]["a"].value == 4.5
    assert estimates["median"]["a"].value == 4.5
    assert estimates["optimality gap"]["a"].value == 0.0
    assert estimates["optimality gap"]["b"].value == 0.75
    assert estimates["IQM"]["a"].low < 4.5 < estimates["IQM"]["a"].high
    for name in estimates:
        assert estimates[name]["b"].low == estimates[name]["b"].value == estimates[name]["b"].high


def test_probability_of_improvement_counts_pairs():
    # Of the four pairs, x wins three on the first task and none on the second.
    x, y = np.array([[1.0, 0.0], [3.0, 0.0]]), np.array([[0.0, 1.0], [2.0, 1.0]])
    assert improvement({"x": x, "y": y}, "y", samples=SAMPLES)["x"].value == 0.375
    assert improvement({"y": y}, "y", samples=SAMPLES) == {}


def test_intervals_are_the_same_every_time_and_leave_numpys_generator_alone():
    matrix = np.random.default_rng(0).normal(size=(5, 3))
    np.random.seed(3)
    wanted = np.random.random()
    np.random.seed(3)
    first, second = (aggregate({"a": matrix}, samples=SAMPLES) for _ in range(2))
    assert first == second
    assert np.random.random() == wanted


def test_band_is_round_the_mean_over_seeds():
    mean, low, high = band(np.array([[0.0, 1.0], [2.0, 1.0]]), samples=200)
    np.testing.assert_array_equal(mean, [1.0, 1.0])
    np.testing.assert_array_equal(low, [0.0, 1.0])
    np.testing.assert_array_equal(high, [2.0, 1.0])


def test_curves_are_drawn_where_all_seeds_have_evaluations():
    seeds = [
        make_run("a", "Catch-v0", 0, [(0, 0.0), (100, 10.0)]),
        make_run("a", "Catch-v0", 1, [(50, 1.0), (200, 4.0)]),
    ]
    x, values = common_curve(seeds)
    assert (x[0], x[-1]) == (50, 100)
    np.testing.assert_allclose(values[:, 0], [5.0, 1.0])
    np.testing.assert_allclose(values[:, -1], [10.0, 2.0])


def test_of_several_evaluations_at_one_env_step_the_last_counts():
    run = make_run("a", "Catch-v0", 0, [(0, 0.0), (100, 5.0), (100, 9.0)])
    x, values = common_curve([run])
    assert values[0, -1] == 9.0
    np.testing.assert_allclose(values[0], 9.0 * x / 100)


def test_long_names_are_broken_where_their_parts_are_joined():
    assert wrapped("short_name") == "short_name"
    assert wrapped("a" * 20 + "_" + "b" * 20) == "a" * 20 + "_\n" + "b" * 20
    assert wrapped("c" * 40) == "c" * 40


def test_leverage_leaves_each_environment_out_in_turn():
    matrix = np.array([[1.0, 2.0, 9.0], [3.0, 2.0, 11.0]])
    assert [rest["mean"] for rest in without_each(matrix)] == [6.0, 6.0, 2.0]
    assert [rest["median"] for rest in without_each(matrix)] == [6.0, 6.0, 2.0]
    assert without_each(matrix[:, :1]) == []


def test_a_method_is_the_group_without_the_environment():
    assert method_of("ALE-Pong-v5_lr=0.1", "ALE/Pong-v5") == "lr=0.1"
    assert method_of("ALE-Pong-v5", "ALE/Pong-v5") == ""
    assert method_of("Catch-v0_catch_seeds-2", "Catch-v0") == "catch_seeds-2"


def tables_of(runs, baseline):
    sections = make_sections(runs, baseline=baseline, samples=SAMPLES)
    return {section.title: section for section in sections}


@pytest.mark.slow
def test_tables_hold_returns_with_their_seeds_and_published_scores():
    sections = tables_of(RUNS, "base")
    own, published = sections["Environments"].tables
    assert own.rows[0] == ("ALE/Pong-v5", "-3.05 [-20.7, 14.6] (n=2)", "7.30 [0.00, 14.6] (n=2)")
    assert own.rows[1] == ("Catch-v0", "0.50 [0.00, 1.00] (n=2)", "-1.00 (n=1)")
    (pong,) = [dict(zip(published.header, row, strict=True)) for row in published.rows]
    assert (pong["game"], pong["base"], pong["EfficientZero"]) == ("Pong", "-3.05", "20.1")
    mean = dict(zip(published.header, published.footer[0], strict=True))
    assert (mean["random"], mean["human"], mean["base"]) == ("0.000", "1.000", "0.500")
    assert mean["EfficientZero"] == f"{(20.1 + 20.7) / (14.6 + 20.7):.3f}"


def test_leverage_names_the_most_influential_environment_first():
    (table,) = tables_of(RUNS, "base")["Leverage"].tables
    # lr=1 has 1 on Pong and 0 on Catch: without either, its mean moves by a half.
    rows = {row[0]: dict(zip(table.header, row, strict=True)) for row in table.rows}
    assert rows["ALE/Pong-v5"]["lr=1: mean"] == "0.000"
    assert rows["Catch-v0"]["lr=1: mean"] == "1.000"
    assert rows["ALE/Pong-v5"]["base: mean"] == "0.750"
    assert dict(zip(table.header, table.footer[0], strict=True))["base: mean"] == "0.625"


def test_stamps_are_shown_and_missing_ones_counted():
    section = tables_of(RUNS, "base")["Fairness stamps"]
    (table,) = section.tables
    assert table.rows == [("lr=1-Catch-v0-0", "lr=1", "3.5")]
    assert "6 of 7 runs have no stamp" in section.reading


def test_time_is_told_by_role_and_section():
    (table,) = tables_of(RUNS, "base")["Where the time goes"].tables
    assert table.rows[0] == ("learner: forward", "60.0%", "60.0%")
    assert [row[0] for row in table.rows] == [
        "learner: forward",
        "learner: wait_batch",
        "learner: other",
    ]


def test_a_single_run_is_enough():
    sections = tables_of(RUNS[:1], "base")
    assert "Leverage" not in sections
    assert [name for name, _ in sections["Aggregates"].figures] == ["aggregates"]


@pytest.mark.slow
def test_page_holds_every_figure_and_needs_no_other_file(tmp_path, monkeypatch):
    monkeypatch.setattr("deploy.report.__main__.read_runs", lambda directories: RUNS)
    options = Options(runs=(), out=tmp_path / "out", title="A <b>", bootstrap_samples=SAMPLES)
    text = write_report(options).read_text()
    assert "A &lt;b&gt;" in text
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    files = {path.read_bytes() for path in options.out.glob("*.png")}
    assert {base64.b64decode(picture) for picture in pictures} == files
    assert len(files) == 6
    assert re.findall(r'(?:src|href)="(?!data:|#)', text) == []
    with pytest.raises(ReportError, match="--baseline: got nobody, wanted one of base, lr=1"):
        write_report(Options(runs=(), out=tmp_path, baseline="nobody"))


def test_no_run_is_refused():
    with pytest.raises(ReportError, match="got no run folder"):
        read_runs([])
