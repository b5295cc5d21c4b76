"""The report's numbers against hand-computed ones, and its page against the runs it is of."""

import base64
import dataclasses
import re

import numpy as np
import pytest

from deploy.report.__main__ import Options, write_report
from deploy.report.comparison import (
    cautions,
    choose_baseline,
    difference_rows,
    families,
    labelled,
    version_rows,
)
from deploy.report.content import make_sections
from deploy.report.curves import common_curve
from deploy.report.estimates import aggregate, band, improvement, without_each
from deploy.report.figures import wrapped
from deploy.report.run_files import ReportError
from deploy.report.runs import LeftOut, compared_values, method_of, read_runs
from deploy.report.scores import make_scales, score_matrices
from deploy.report.tables import Table
from efficientzero.config.files import config_to_dict, flatten, load_preset
from tests.support.cases.report_cases import make_run

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


def test_the_column_that_was_read_off_a_picture_says_so_and_has_no_aggregate():
    section = tables_of(RUNS, "base")["Environments"]
    published = section.tables[1]
    column = published.header.index("EfficientZero V2 (digitised)")
    assert "EfficientZero V2" not in published.header
    assert published.rows[0][column] != ""
    assert [row[column] for row in published.footer] == ["", ""]
    assert "EfficientZero V2 is digitised" in section.reading


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


def test_time_is_reported_by_role_and_section():
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
    names = [name for name, _ in sections["Aggregates"].figures]
    assert names == ["IQM", "median", "mean", "optimality_gap"]


@pytest.mark.slow
def test_page_holds_every_figure_and_needs_no_other_file(tmp_path, monkeypatch):
    left_out = [LeftOut(name="x.log", reason="a file, no run folder")]
    monkeypatch.setattr("deploy.report.__main__.read_runs", lambda paths: (RUNS, left_out))
    options = Options(
        runs=(), out=tmp_path / "out", title="A <b>", baseline="base", bootstrap_samples=SAMPLES
    )
    page, told, problems = write_report(options)
    assert (told, problems) == (left_out, [])
    text = page.read_text()
    assert ">x.log</td>" in text
    assert "A &lt;b&gt;" in text
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    files = {path.read_bytes() for path in options.out.glob("*.png")}
    assert {base64.b64decode(picture) for picture in pictures} == files
    # Four aggregates, improvement, two curves, leverage, time of two methods, alike.
    assert len(pictures) == 4 + 1 + 2 + 1 + 2
    assert re.findall(r'(?:src|href)="(?!data:|#)', text) == []
    with pytest.raises(ReportError, match="--baseline: got nobody, wanted one of base, lr=1"):
        write_report(Options(runs=(), out=tmp_path, baseline="nobody"))
    (tmp_path / "file").touch()
    with pytest.raises(ReportError, match=r"--out: .*file cannot be written"):
        write_report(Options(runs=(), out=tmp_path / "file", bootstrap_samples=SAMPLES))


def test_no_run_is_refused():
    with pytest.raises(ReportError, match="got no run folder"):
        read_runs([])


def test_inputs_that_are_no_runs_are_left_out_one_by_one(tmp_path):
    (tmp_path / "a.log").touch()
    (tmp_path / "figures").mkdir()
    (tmp_path / "parent" / "run").mkdir(parents=True)
    (tmp_path / "parent" / "run" / "config.json").touch()
    (tmp_path / "untracked").mkdir()
    (tmp_path / "untracked" / "config.json").touch()
    (tmp_path / "failed").mkdir()
    (tmp_path / "failed" / "summary.json").write_text(
        '{"exit_code": 1, "exit_reason": "failed: learner-0 ended with code 1"}'
    )
    with pytest.raises(ReportError) as error:
        read_runs([*sorted(tmp_path.iterdir()), tmp_path / "nothing"])
    assert str(error.value).replace(f"{tmp_path}/", "").splitlines() == [
        "got no run that can be used, wanted one or more",
        "  a.log: a file, no run folder",
        "  failed: ended with code 1: failed: learner-0 ended with code 1",
        "  figures: no run folder: it has no config.json",
        "  parent: no run folder, but it has some: parent/*",
        "  untracked: no wandb files: it was not tracked, or has not started yet",
        "  nothing: there is nothing",
    ]


def test_of_repeated_seeds_the_run_that_came_furthest_is_used(tmp_path, monkeypatch):
    curves = {"stopped": [(90, 1.0)], "finished": [(50, 2.0)], "other": [(40, 3.0)]}
    made = {
        name: dataclasses.replace(
            make_run("a", "Catch-v0", 3, curve, is_finished=name != "stopped"), name=name
        )
        for name, curve in curves.items()
    }
    monkeypatch.setattr("deploy.report.runs.read_run", lambda path: made[path.name])
    paths = [tmp_path / name for name in curves]
    runs, left_out = read_runs([*paths, paths[1]])
    assert [run.name for run in runs] == ["finished"]
    reason = "seed 3 of Catch-v0_a again; finished is used"
    assert [(one.name.rpartition("/")[2], one.reason) for one in left_out] == [
        ("finished", "given twice"),
        ("other", reason),
        ("stopped", reason),
    ]


def test_a_single_seed_has_no_interval():
    one, two = np.array([[0.5]]), np.array([[0.2], [0.4]])
    numbers = aggregate({"one": one, "two": two}, samples=SAMPLES)
    better = improvement({"one": one, "two": two}, "two", samples=SAMPLES)
    assert (numbers["IQM"]["one"].low, numbers["IQM"]["one"].high) == (None, None)
    assert numbers["IQM"]["two"].low is not None
    assert (better["one"].value, better["one"].low) == (1.0, None)
    mean, low, high = band(one, samples=SAMPLES)
    assert (mean.tolist(), low, high) == ([0.5], None, None)
    (table,) = tables_of(RUNS[:1] + RUNS[4:5], "base")["Aggregates"].tables
    assert [row[2] for row in table.rows] == ["0.500", "0.000"]


def config_of(preset="catch", **changes):
    values = {**flatten(config_to_dict(load_preset(preset))), **changes}
    return compared_values(values)


def study(name, arm, seed=0, env_id="Catch-v0", **changes):
    changes = {"env.id": env_id, **{key.replace("__", "."): v for key, v in changes.items()}}
    versions = {"git_commit": "a" * 40, "torch": "2.0"}
    return make_run(
        name, env_id, seed, [(100, 1.0)], arm=arm, config=config_of(**changes), versions=versions
    )


ARMS = [
    study("catch", "full"),
    study("catch", "full", seed=1),
    study("catch_consistency_coefficient=0", "no_consistency", learner__consistency_coefficient=0),
]


def test_arms_are_the_labels_and_the_full_agent_is_the_baseline():
    runs = labelled(ARMS)
    assert [run.method for run in runs] == ["full", "full", "no_consistency"]
    assert choose_baseline(runs) == "full"
    assert choose_baseline(runs, "no_consistency") == "no_consistency"
    assert choose_baseline(runs, "Catch-v0_catch_consistency_coefficient=0") == "no_consistency"


def test_further_arms_of_a_grid_are_named_by_what_differs():
    varied = {"search__num_simulations": 4}
    others = [study("catch_num_simulations=4", "full", **varied)]
    names = {run.method for run in labelled([*ARMS, *others])}
    assert names == {"full num_simulations=8", "full num_simulations=4", "no_consistency"}


def test_one_experiment_is_one_method_whatever_its_long_groups_are_called():
    runs = labelled(
        [
            study("catch_3-more_0123456789ab", "full"),
            study("catch_5-more_ba9876543210", "full", env_id="Other-v0"),
        ]
    )
    assert {run.method for run in runs} == {"full"}


def test_without_arms_the_method_nearest_to_a_preset_is_the_baseline():
    by_hand = [dataclasses.replace(run, arm="") for run in ARMS]
    assert choose_baseline(labelled(by_hand)) == "catch"
    alike = [study("a", "", search__num_simulations=3), study("b", "", search__num_simulations=4)]
    assert choose_baseline(labelled(alike)) is None
    sections = make_sections(labelled(alike), samples=SAMPLES)
    (aggregates,) = [section for section in sections if section.title == "Aggregates"]
    assert "No method is the full agent" in aggregates.reading
    assert not any("beats" in name for name in aggregates.tables[0].header)


def test_methods_that_share_no_environment_are_reported_side_by_side():
    other = make_run("b", "CartPole-v1", 0, [(1, 0.0)])
    assert [[run.name for run in of] for of in families([*RUNS[:1], other])] == [
        ["base-Catch-v0-0"],
        ["b-CartPole-v1-0"],
    ]
    titles = [section.title for section in make_sections([*RUNS[:1], other], samples=SAMPLES)]
    assert "Aggregates: Catch-v0" in titles
    assert "Aggregates: CartPole-v1" in titles


def test_what_makes_runs_hard_to_compare_is_said():
    changed_budget = study("c", "c", budget__env_steps=500, evaluator__num_episodes=3)
    dirty = {"git_commit": "b" * 40 + "-dirty", "torch": "2.1"}
    stopped = dataclasses.replace(
        ARMS[1],
        versions=dirty,
        evaluations=make_run("x", "E", 0, [(70, 0.0)], is_finished=False).evaluations,
    )
    steps = ARMS[0].config["budget.env_steps"]
    assert cautions(labelled([ARMS[0], stopped, changed_budget])) == [
        f"Different budgets on Catch-v0: budget.env_steps is 500 in c; {steps} in full.",
        "Different environments' protocols on Catch-v0: evaluator.num_episodes is 3 in c; "
        f"{ARMS[0].config['evaluator.num_episodes']} in full.",
        "Different commits: aaaaaaaaaaaa in c, catch-Catch-v0-0; bbbbbbbbbbbb-dirty in "
        "catch-Catch-v0-1.",
        "Different versions of torch: 2.0 in c, catch-Catch-v0-0; 2.1 in catch-Catch-v0-1.",
        "Made with changes that were not committed: catch-Catch-v0-1.",
        f"Not finished: catch-Catch-v0-1, whose newest evaluation is at 70 of {steps:,} env_steps.",
    ]
    assert cautions(labelled(ARMS)) == []
    collapsed = dataclasses.replace(ARMS[0], collapses=("the values died",))
    assert cautions(labelled([collapsed, *ARMS[1:]])) == [
        f"Collapsed: {ARMS[0].name}, the values died."
    ]


def test_versions_and_config_differences_are_on_the_page():
    runs = labelled(ARMS)
    assert version_rows(runs) == [
        ("commit", "aaaaaaaaaaaa", "aaaaaaaaaaaa"),
        ("torch", "2.0", "2.0"),
    ]
    assert difference_rows(runs) == [("learner.consistency_coefficient", "2", "0")]
    compared = next(s for s in make_sections(runs, samples=SAMPLES) if "compared" in s.title)
    assert [table.header[1:] for table in compared.tables] == [
        ("in all methods",),
        ("full", "no_consistency"),
    ]


def test_losses_entropies_and_values_are_drawn():
    metrics = ("total_loss", "policy_entropy", "value_mean")
    series = {name: (np.array([1.0, 2.0]), np.array([3.0, 4.0])) for name in metrics}
    runs = [dataclasses.replace(run, training=series) for run in RUNS]
    sections = [s for s in make_sections(runs, samples=SAMPLES) if s.title.startswith("Training")]
    assert [section.title for section in sections] == [
        "Training: ALE/Pong-v5",
        "Training: Catch-v0",
    ]
    names = [name for name, _ in sections[1].figures]
    assert names == [f"training_1_{metric}" for metric in metrics]


def test_wide_tables_are_split_into_parts_that_fit():
    header = ["run", *(f"method_{i:02}" for i in range(12))]
    table = Table(header=header, rows=[[f"c{i:02}" + "x" * 20 for i in range(13)]])
    parts = table.parts()
    assert len(parts) > 1
    assert [name for part in parts for name in part.header[1:]] == header[1:]
    assert all(part.header[0] == "run" and part.rows[0][0] == table.rows[0][0] for part in parts)
    assert all(sum(len(cell) for cell in part.rows[0]) <= 156 for part in parts)
