"""Cells: checked before the first starts, recognised when finished, and started as they are."""

import dataclasses
import json
import re

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from deploy.ablate.__main__ import main
from deploy.ablate.check import check_cells, check_jobs_memory
from deploy.ablate.command import (
    Slot,
    choose_run_id,
    launch_command,
    launch_options,
    slots,
)
from deploy.ablate.grid import Grid, expand
from deploy.checks.devices import visible_gpus
from deploy.checks.preflight import check_run_id
from deploy.launching import command_line
from efficientzero.config.files import ConfigError, config_hash
from efficientzero.config.preset_files import PRESETS, load_preset
from efficientzero.config.validation import validate
from tests.support.cases.config_cases import CHANGES, changed
from tests.support.fakes import tiny_run

CATCH = load_preset("catch")
LONG = (
    *("evaluator.interval_train_steps", "evaluator.num_episodes", "evaluator.final_num_episodes"),
    *("learner.publish_interval", "learner.target_interval", "budget.last_train_steps"),
    *("reanalyzer.search_batch_size", "replay.queue_size", "actor.num_envs"),
)
"""Fields that make the name of a group too long."""


def checked(runs_dir, **grid):
    return check_cells(expand(Grid(**grid), CATCH), runs_dir)


def write_summary(runs_dir, cell, name, *, exit_code=0, **changes):
    """Write what a finished run of the cell, or of its config with changes, has left."""
    folder = runs_dir / name
    tiny_run(folder, changed(cell.cell.config, changes)).save()
    (folder / "summary.json").write_text(json.dumps({"exit_code": exit_code}))
    return folder


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(preset=st.sampled_from(PRESETS), changes=CHANGES)
def test_options_of_a_config_give_that_config_again(preset, changes):
    config = dataclasses.replace(changed(load_preset(preset), changes), preset=preset)
    base = load_preset(preset)
    assert command_line.parse(launch_options(config, base), base).config == config


def test_command_starts_launch_py_in_the_named_folder(tmp_path):
    cell = checked(tmp_path, seeds=(3,)).cells[0]
    command = launch_command(cell, slot=Slot(cpus=(0,)), run_id="x", runs_dir=tmp_path)
    assert command[1].endswith("/launch.py")
    assert command[2:] == [
        *("--local", "--preset", "catch", "--seed=3"),
        *("--run-id", "x", "--runs-dir", str(tmp_path)),
    ]


def test_a_cell_that_cannot_run_is_refused_before_any_starts(capsys, tmp_path):
    arguments = ["--preset", "catch", "--vary", "replay.capacity=64,63"]
    assert main([*arguments, "--runs-dir", str(tmp_path / "runs")]) == 2
    assert "cell 1 (Catch-v0 capacity=63 s0): replay.capacity: got 63" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_an_unknown_environment_is_refused_before_any_starts(capsys, tmp_path):
    arguments = ["--preset", "catch", "--envs", "Catch-v0", "Nothing-v0"]
    assert main([*arguments, "--runs-dir", str(tmp_path / "runs")]) == 2
    assert "cell 1 (Nothing-v0 s0): " in capsys.readouterr().err


def test_cells_that_are_the_same_experiment_are_run_once(tmp_path):
    grid = checked(tmp_path, components=("augmentation", "priority"), seeds=(0, 1))
    assert [cell.cell.label for cell in grid.cells] == [
        *("full Catch-v0 s0", "full Catch-v0 s1"),
        *("no_priority Catch-v0 s0", "no_priority Catch-v0 s1"),
    ]
    assert grid.same == {2: 0, 3: 1}


def test_cells_that_would_look_equal_in_wandb_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"cells 0 .* and 1 .* differ only in what cannot change"):
        checked(tmp_path, vary={"search.num_threads": (1, 2)})


def test_a_finished_cell_is_recognised_whatever_its_folder_is_called(tmp_path):
    before = checked(tmp_path, seeds=(0, 1))
    assert [cell.finished for cell in before.cells] == [None, None]
    folder = write_summary(tmp_path, before.cells[1], "any-name")
    after = checked(tmp_path, seeds=(0, 1))
    assert [cell.finished for cell in after.cells] == [None, folder]


@pytest.mark.parametrize(
    "change",
    [
        {"exit_code": 130},
        {"exit_code": 1},
        {"seed": 7},
        {"search.num_simulations": 3},
        {"cluster.num_reanalyzers": 2},
        {"tracking.group_suffix": "x"},
    ],
)
def test_another_or_an_unfinished_run_is_not_taken_for_it(tmp_path, change):
    write_summary(tmp_path, checked(tmp_path).cells[0], "run", **change)
    assert checked(tmp_path).cells[0].finished is None


def test_a_run_with_more_actors_is_not_taken_for_it(tmp_path):
    write_summary(tmp_path, checked(tmp_path, actors=(2,)).cells[0], "run")
    assert checked(tmp_path, actors=(1,)).cells[0].finished is None


def test_a_run_whose_long_group_was_named_otherwise_is_taken_for_it(tmp_path):
    base = changed(CATCH, dict.fromkeys(LONG, 3))
    grid = Grid(vary={"evaluator.num_episodes": (4, 5)})
    varied = check_cells(expand(grid, base), tmp_path).cells[0]
    folder = write_summary(tmp_path, varied, "run")
    by_hand = changed(base, {"evaluator.num_episodes": 4})
    (cell,) = check_cells(expand(Grid(), by_hand), tmp_path).cells
    assert "num_episodes=4" in varied.group
    assert cell.group != varied.group
    assert cell.finished == folder


def test_a_damaged_summary_is_no_finished_run(tmp_path):
    folder = write_summary(tmp_path, checked(tmp_path).cells[0], "run")
    (folder / "summary.json").write_text("{")
    assert checked(tmp_path).cells[0].finished is None


def write_run(runs_dir, cell, name, *, has_saved=True):
    """Write what a launcher has written of a run that has not ended."""
    folder = runs_dir / name
    (folder / "checkpoints").mkdir(parents=True)
    run = tiny_run(folder, cell.cell.config)
    dataclasses.replace(run, group=cell.group).save()
    if has_saved:
        (folder / "checkpoints" / "checkpoint_00000010.pt").touch()
    return folder


@pytest.mark.parametrize("code", [None, 130, 143])
def test_a_run_that_was_stopped_or_killed_goes_on_where_it_was(tmp_path, code):
    cell = checked(tmp_path).cells[0]
    folder = write_run(tmp_path, cell, "any-name")
    if code is not None:
        (folder / "summary.json").write_text(json.dumps({"exit_code": code}))
    (again,) = checked(tmp_path, vary={"cluster.threads_per_process": (4,)}).cells
    assert again.stopped.directory == folder
    assert choose_run_id(again, tmp_path) == "any-name"
    slot = Slot(cpus=(0, 1, 2))
    command = launch_command(again, slot=slot, run_id="any-name", runs_dir=tmp_path)
    wanted = ["--local", "--resume", str(folder), "--cluster.threads-per-process=3"]
    assert command[2:] == wanted


def test_a_run_that_failed_or_never_saved_is_started_anew(tmp_path):
    cell = checked(tmp_path).cells[0]
    folder = write_run(tmp_path, cell, "failed")
    (folder / "summary.json").write_text(json.dumps({"exit_code": 1}))
    write_run(tmp_path, cell, "unsaved", has_saved=False)
    write_run(tmp_path, checked(tmp_path, seeds=(1,)).cells[0], "other")
    assert checked(tmp_path).cells[0].stopped is None


def test_replays_that_do_not_fit_side_by_side_are_refused(tmp_path, monkeypatch):
    cells = checked(tmp_path, seeds=(0, 1, 2)).cells
    # 12,000 env_steps of 50 / 48 + 1,100 bytes: 13.2 MB each.
    monkeypatch.setattr("deploy.ablate.check.available_memory_bytes", lambda: 36_000_000)
    check_jobs_memory(cells, 2)
    with pytest.raises(ConfigError, match="--jobs: got 3, whose full replays take 40 MB"):
        check_jobs_memory(cells, 3)


def test_run_folders_are_named_after_the_run_and_free(tmp_path):
    cell = checked(tmp_path, seeds=(4,)).cells[0]
    assert choose_run_id(cell, tmp_path) == "Catch-v0_catch_s4"
    (tmp_path / "Catch-v0_catch_s4").mkdir()
    assert choose_run_id(cell, tmp_path) == "Catch-v0_catch_s4-2"


def test_run_folders_of_arms_begin_with_their_names(tmp_path):
    cells = checked(tmp_path, components=("priority",)).cells
    names = [choose_run_id(cell, tmp_path) for cell in cells]
    assert names == ["full_Catch-v0_catch_s0", "no_priority_Catch-v0_catch_priority_exponent=0_s0"]


def test_command_of_an_arm_names_it_and_what_the_grid_varies(tmp_path):
    cells = checked(tmp_path, components=("importance_weights",)).cells
    for cell, arm in zip(cells, ("full", "no_importance_weights"), strict=True):
        command = launch_command(cell, slot=Slot(cpus=(0,)), run_id="x", runs_dir=tmp_path)
        parsed = command_line.parse(command[5:-4], CATCH).config
        assert parsed == cell.cell.config
        assert parsed.tracking.arm == arm
        assert parsed.tracking.ablated == (
            "replay.importance_exponent",
            "replay.importance_exponent_final",
        )


def test_long_names_of_run_folders_end_in_whole_values_and_differ(tmp_path):
    cells = checked(tmp_path, seeds=(1, 2)).cells
    long = [dataclasses.replace(cell, group="Catch-v0_" + "g" * 97) for cell in cells]
    names = [choose_run_id(cell, tmp_path) for cell in long]
    assert names[0] != names[1]
    for name in names:
        check_run_id(name + "-99")
        assert re.fullmatch(r"Catch-v0_[0-9a-f]{8}_s[12]", name)


@pytest.mark.parametrize("length", range(60))
def test_no_value_is_cut_in_the_name_of_a_run_folder(tmp_path, length):
    (cell,) = checked(tmp_path).cells
    parts = f"Catch-v0_catch_{'f' * length}=0_num_simulations=12_0123=45678_discount=0.997"
    cell = dataclasses.replace(cell, group=f"{parts}_12-more_0123456789ab")
    name = choose_run_id(cell, tmp_path)
    assert len(name) <= 90
    whole = {f"{'f' * length}=0", "num_simulations=12", "0123=45678", "discount=0.997"}
    texts = re.findall(r"((?:num_)?[^_=]+=[^_]*)", name)
    assert texts
    assert set(texts) <= whole


def test_one_job_has_the_whole_machine():
    assert slots(1, [0, 1, 2], ["0", "1"]) == [Slot(cpus=(0, 1, 2))]


def test_jobs_split_cpus_and_gpus():
    assert slots(2, [0, 1, 2, 5, 6], ["0", "1", "3"]) == [
        Slot(cpus=(0, 1), gpus=("0",)),
        Slot(cpus=(2, 5, 6), gpus=("1", "3")),
    ]


def test_more_jobs_than_cpus_share_them_and_a_single_gpu_is_everyones():
    assert slots(3, [4, 7], ["0"]) == [Slot(cpus=(4,)), Slot(cpus=(7,)), Slot(cpus=(4,))]
    assert [slot.gpus for slot in slots(3, [0], ["0", "1"])] == [("0",), ("1",), ("0",)]


def test_a_slot_limits_threads_to_its_cpus_and_leaves_the_experiment_alone():
    threads = {"cluster.threads_per_process": 8, "search.num_threads": 3}
    config = changed(CATCH, threads)
    limited = Slot(cpus=(0, 1)).limit(config)
    assert (limited.cluster.threads_per_process, limited.search.num_threads) == (2, 2)
    assert config_hash(limited) == config_hash(config)
    assert Slot(cpus=tuple(range(16))).limit(config) == config


def test_a_slot_shows_its_gpus_to_runs_that_choose_for_themselves():
    slot = Slot(cpus=(0,), gpus=("2", "3"))
    assert slot.environment({"A": "1"}, CATCH) == {"A": "1", "CUDA_VISIBLE_DEVICES": "2,3"}
    assert slot.environment({}, changed(CATCH, {"cluster.device": "cuda:1"})) == {}
    assert slot.environment({}, changed(CATCH, {"cluster.learner_device": "cuda:1"})) == {}
    on_cpu = changed(CATCH, {"cluster.actor_device": "cpu"})
    assert slot.environment({}, on_cpu) == {"CUDA_VISIBLE_DEVICES": "2,3"}
    assert slot.environment({}, changed(CATCH, {"cluster.device": "cpu"})) == {}
    assert Slot(cpus=(0,)).environment({}, CATCH) == {}


def test_gpus_are_those_that_this_process_may_see(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1, GPU-abc")
    assert visible_gpus() == ["1", "GPU-abc"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert visible_gpus() == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tracking.arm": "no value"}, "tracking.arm: got 'no value', wanted at most 40 letters"),
        ({"tracking.arm": "x" * 41}, "tracking.arm: got "),
        ({"tracking.varied": ("search.num_sim",)}, "did you mean 'search.num_simulations'?"),
        ({"tracking.ablated": ("nothing",)}, "tracking.ablated: got 'nothing', wanted dotted"),
    ],
)
def test_arms_and_varied_fields_that_mean_nothing_are_refused(change, words):
    with pytest.raises(ConfigError, match=re.escape(words)):
        validate(changed(CATCH, change))
