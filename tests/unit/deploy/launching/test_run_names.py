"""Entity, project, group suffix and run id: refused before anything starts, in one line."""

import dataclasses
import os
from datetime import datetime

import pytest

import launch
from deploy.ablate.__main__ import main as ablate
from deploy.checks.preflight import PreflightError
from deploy.launching.config_checks import check_config
from deploy.launching.prepare import default_run_id, prepare, prepare_resume
from deploy.launching.serve import existing_run
from deploy.results.wandb_history import find_runs
from efficientzero.config.fields import EnvConfig
from efficientzero.config.preset_files import load_preset
from efficientzero.metrics.wandb_limits import check_environment, check_wandb_name
from efficientzero.process.runtime import StopSignal
from efficientzero.rpc.stubs import cluster_pb2
from efficientzero.worker.joining import JoinRefused, _run_seen_from_here
from efficientzero.worker.run_tracking import run_tracker
from tests.support.cases.loss_cases import changed
from tests.support.fakes import tiny_config, tiny_run

REFUSED = [
    ("entity", "", "tracking.entity: got 0 characters ('')"),
    ("entity", "a" * 129, "tracking.entity: got 129 characters"),
    ("entity", "my team", "tracking.entity: got 'my team'"),
    ("entity", "team/project", "tracking.entity: got 'team/project'"),
    ("entity", "-team", "tracking.entity: got '-team'"),
    ("entity", "tëam", "tracking.entity: got 'tëam'"),
    ("project", "", "tracking.project: got 0 characters"),
    ("project", "p" * 200, "tracking.project: got 200 characters"),
    ("project", "team/muzero", "tracking.project: got 'team/muzero'"),
    *(("project", f"a{bad}b", f"tracking.project: got {f'a{bad}b'!r}") for bad in "\\#?%:\n\0\x7f"),
    ("project", " ", "tracking.project: got ' '"),
    ("project", "muzero ", "tracking.project: got 'muzero '"),
    ("project", "..", "tracking.project: got '..'"),
    ("group_suffix", "a b", "tracking.group_suffix: got 'a b'"),
    ("group_suffix", "try/2", "tracking.group_suffix: got 'try/2'"),
    ("group_suffix", "x\n", "tracking.group_suffix: got 'x\\n'"),
    ("group_suffix", "s" * 41, "got 41 characters, wanted at most 40"),
]
ACCEPTED = [
    ("entity", "stablegradients"),
    ("entity", "My_team-2.org"),
    ("entity", "7"),
    ("project", "MonteCarloTreeSearch"),
    ("project", "My project (2), säule"),
    ("project", "p" * 128),
    ("group_suffix", ""),
    ("group_suffix", "Try-2_b.c+d=e"),
    ("group_suffix", "s" * 40),
]


def with_name(field, value):
    return changed(load_preset("catch"), tracking={field: value})


@pytest.mark.parametrize("field, value, message", REFUSED)
def test_names_that_wandb_would_refuse_are_refused(field, value, message):
    with pytest.raises(PreflightError) as error:
        check_config(with_name(field, value))
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("option", ["--entity=", "--project=team/muzero", "--group-suffix=a b"])
def test_a_refused_name_is_one_line_before_anything_is_made(capsys, tmp_path, option):
    place = ["--runs-dir", str(tmp_path / "runs")]
    assert launch.main(["--local", "--preset", "catch", option, *place]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    name, _, value = option.removeprefix("--").replace("-", "_").partition("=")
    assert line.startswith(f"launch.py: error: tracking.{name}: got ") and repr(value) in line
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("field, value", ACCEPTED)
def test_names_that_wandb_accepts_are_accepted(field, value):
    check_config(with_name(field, value))


@pytest.mark.parametrize("mode", ["--serve", "--prepare"])
def test_every_way_to_start_checks_the_names(capsys, tmp_path, mode):
    place = ["--run-id", "x", "--runs-dir", str(tmp_path)]
    assert launch.main([mode, "--preset", "catch", "--project", "a/b", *place]) == 2
    assert "tracking.project: got 'a/b'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_grid_checks_the_names(capsys, tmp_path):
    grid = ["--preset", "catch", "--seeds", "0", "1", "--runs-dir", str(tmp_path), "--dry-run"]
    assert ablate([*grid, "--tracking.project", "a/b"]) == 2
    assert "tracking.project: got 'a/b'" in capsys.readouterr().err
    assert ablate([*grid, "--group-suffix", "a b"]) == 2
    assert "tracking.group_suffix: got 'a b'" in capsys.readouterr().err


def test_a_run_that_goes_on_keeps_its_suffix_and_can_be_given_another_project(tmp_path):
    run = tiny_run(tmp_path, changed(tiny_config(), tracking={"group_suffix": "a b"}))
    run.save()
    assert prepare_resume(run, run.config).run.group == run.group
    wrong = changed(run.config, tracking={"project": "a/b"})
    with pytest.raises(ValueError, match=r"tracking\.project: got 'a/b'"):
        prepare_resume(dataclasses.replace(run, config=wrong), wrong)
    mended = changed(wrong, tracking={"project": "ab"})
    assert prepare_resume(dataclasses.replace(run, config=wrong), mended).run.config == mended


@pytest.mark.parametrize("run_id", ["x" * 101, "../x", "a b", "a/b", ".x", "x\n", "é", "x" * 300])
def test_run_ids_that_are_no_plain_names_are_refused(tmp_path, run_id):
    with pytest.raises(
        PreflightError, match=r"--run-id: got .*, wanted at most 100 letters"
    ) as error:
        existing_run(tmp_path, run_id, load_preset("catch"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("mode", ["--local", "--serve", "--prepare"])
def test_a_run_id_is_checked_before_anything_is_made(capsys, tmp_path, mode):
    place = ["--runs-dir", str(tmp_path / "runs"), "--run-id", "x" * 300]
    assert launch.main([mode, "--preset", "catch", *place]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("launch.py: error: --run-id: got 'xxx")
    assert not (tmp_path / "runs").exists()


def test_a_long_environment_still_has_a_name_for_its_run():
    config = dataclasses.replace(load_preset("catch"), env=EnvConfig(id="Long" * 50 + "-v0"))
    name = default_run_id(config, datetime(2024, 5, 6, 7, 8, 9))
    assert len(name) <= 100 and name.endswith("-catch-s0-20240506-070809")


def joined(run, tmp_path):
    reply = cluster_pb2.JoinReply(run_file=run.to_json(), replay_host="127.0.0.1")
    return _run_seen_from_here(reply, "127.0.0.1:7400", tmp_path / "here")


def test_a_worker_joins_no_run_whose_names_cannot_be_used(tmp_path):
    run = dataclasses.replace(tiny_run(tmp_path, tiny_config()), tracking_mode="offline")
    assert joined(run, tmp_path).directory == tmp_path / "here" / "tiny"
    for bad in ("../../etc", "a" * 101):
        with pytest.raises(JoinRefused, match="the run's id: got '"):
            joined(dataclasses.replace(run, run_id=bad), tmp_path)
    wrong = changed(run.config, tracking={"project": "a/b"})
    with pytest.raises(JoinRefused, match="wandb project: got 'a/b'"):
        joined(dataclasses.replace(run, config=wrong), tmp_path)


@pytest.fixture
def no_variables(monkeypatch):
    """Set only WANDB_MODE, as a run of the tests does."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    return monkeypatch


@pytest.mark.slow
def test_variables_that_keep_wandb_from_recording_are_refused_at_start(no_variables, tmp_path):
    config, key = load_preset("catch"), "0" * 39 + " "
    now, places = datetime(2024, 5, 6), {"runs_dir": tmp_path, "checkout": tmp_path}
    for name, value, said in (
        ("WANDB_BASE_URL", "foo", "got 'foo'; wandb says: Input should be a valid URL"),
        ("WANDB_TAGS", "t" * 65, "Tags must be between 1 and 64 characters"),
        ("WANDB_API_KEY", key, "got a value; wandb says: API key cannot start or end with"),
    ):
        with no_variables.context() as patch, pytest.raises(PreflightError) as error:
            patch.setenv(name, value)
            prepare(config, run_id="x", now=now, **places)
        told = str(error.value)
        assert told.startswith(f"{name}: ") and said in told
        assert "\n" not in told and key not in told
    assert not list(tmp_path.iterdir())
    no_variables.setenv("WANDB_TAGS", "one,two")
    prepare(config, run_id="x", now=now, **places)


@pytest.mark.slow
def test_entity_and_project_of_the_environment_are_not_read(no_variables, tmp_path):
    no_variables.setenv("WANDB_PROJECT", "a/b")
    no_variables.setenv("WANDB_ENTITY", "some body")
    check_environment()
    run = dataclasses.replace(tiny_run(tmp_path, tiny_config()), tracking_mode="offline")
    tracker = run_tracker(run, "actor", 0, stop=StopSignal())
    tracker.log({"actor/env_steps": 1.0})
    tracker.close()
    (recorded,) = find_runs(tmp_path / "wandb")
    assert (recorded.project, len(recorded.rows)) == ("MonteCarloTreeSearch", 1)


@pytest.mark.slow
def test_wandb_itself_agrees_about_projects():
    import wandb

    for field, value, _ in REFUSED:
        if (field == "project" and set(value) & set("/\\#?%:")) or len(value) > 128:
            with pytest.raises(wandb.UsageError):
                wandb.Settings(project=value)
    for field, value in ACCEPTED:
        if field == "project":
            check_wandb_name(field, value)
            assert wandb.Settings(project=value).project == value
