"""The launcher's ways to start a run on several machines: what they write, repeat and refuse."""

import json
import shutil

import pytest

import launch
from efficientzero.rpc.credentials import CREDENTIALS_VARIABLE, LOCAL_FOLDER
from efficientzero.runs.run_folder import RunInfo

pytestmark = pytest.mark.slow

CATCH = ("--preset", "catch", "--tracking.mode", "disabled")


@pytest.fixture
def call(tmp_path, capsys, monkeypatch):
    """Return a function that runs launch.py in a folder of its own."""
    monkeypatch.delenv(CREDENTIALS_VARIABLE, raising=False)
    monkeypatch.setattr(launch, "run_locally", lambda _: pytest.fail("started something"))

    def run(*arguments):
        code = launch.main([*CATCH, "--runs-dir", str(tmp_path), *arguments])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return run


def test_prepare_writes_the_run_folder_and_may_be_repeated(call, tmp_path):
    assert call("--prepare", "--run-id", "x")[0] == 0
    before = (tmp_path / "x" / "config.json").read_text()
    assert call("--prepare", "--run-id", "x") == (0, f"x is prepared: {tmp_path / 'x'}\n")
    assert (tmp_path / "x" / "config.json").read_text() == before


def test_prepare_gives_a_copied_folder_an_identity_of_its_own(call, tmp_path):
    call("--prepare", "--run-id", "x")
    shutil.copytree(tmp_path / "x", tmp_path / "y")
    code, said = call("--prepare", "--run-id", "y")
    original, copy = (RunInfo.load(tmp_path / name / "config.json") for name in "xy")
    assert code == 0
    assert copy.run_uid != original.run_uid
    assert f"was {tmp_path / 'x'} when it last ran" in said
    # Nothing of the original's opens the copy.
    tokens = {(tmp_path / name / LOCAL_FOLDER / "token").read_text() for name in "xy"}
    assert len(tokens) == 2
    before = (tmp_path / "y" / "config.json").read_text()
    assert call("--prepare", "--run-id", "y") == (0, f"y is prepared: {tmp_path / 'y'}\n")
    assert (tmp_path / "y" / "config.json").read_text() == before


def test_other_experiment_in_the_folder_is_refused(call):
    call("--prepare", "--run-id", "x")
    for mode in ("--prepare", "--serve"):
        code, said = call(mode, "--run-id", "x", "--search.num-simulations", "3")
        assert code == 2
        assert "--search.num_simulations: got 3, but the run was started with" in said


def test_complete_run_is_not_started_again(call, tmp_path):
    call("--prepare", "--run-id", "x")
    line = json.dumps({"is_final": True}) + "\n"
    (tmp_path / "x" / "evaluations.jsonl").write_text(line)
    assert call("--serve", "--run-id", "x") == (0, f"x is complete: {tmp_path / 'x'}\n")


def test_served_run_that_is_started_again_goes_on_and_counts_it(call, tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(launch, "run_locally", lambda plan: started.append(plan.has_workers))
    for _ in range(3):
        call("--serve", "--run-id", "x")
    assert started == [False] * 3
    assert RunInfo.load(tmp_path / "x" / "config.json").num_resumes == 2


@pytest.mark.parametrize("mode", ["--serve", "--prepare"])
def test_run_that_others_join_needs_a_name(call, mode):
    code, said = call(mode)
    assert (code, said.count("\n")) == (2, 1)
    assert "--run-id: got none" in said


@pytest.mark.parametrize("modes", [(), ("--local", "--serve"), ("--serve", "--prepare")])
def test_one_way_to_run_is_wanted(call, modes):
    code, said = call(*modes, "--run-id", "x")
    assert code == 2
    assert "say where to run, in one way" in said


def test_listening_beyond_loopback_without_credentials_starts_nothing(call, tmp_path):
    ports = ("--cluster.learner-port", "7400", "--cluster.replay-port", "7401")
    code, said = call("--serve", "--run-id", "x", "--cluster.bind-host", "0.0.0.0", *ports)
    assert (code, said.count("\n")) == (2, 1)
    assert "no credentials; wanted --credentials DIR" in said
    assert not (tmp_path / "x").exists()


def test_status_of_a_learner_that_is_not_there_fails_in_one_line(capsys):
    assert launch.main(["status", "127.0.0.1:1"]) == 1
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert "no answer from 127.0.0.1:1" in said.err


@pytest.mark.parametrize("given", ["nowhere", "host:port", ":7400"])
def test_status_wants_an_address_or_a_run(capsys, given):
    assert launch.main(["status", given]) == 2
    assert "wanted host:port of a learner or a run's folder" in capsys.readouterr().err
