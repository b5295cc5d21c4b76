"""``launch.py status`` of runs that have ended: what their folders say."""

import dataclasses
import json

import pytest

from deploy.results.summary import summary_lines
from deploy.supervising import status
from efficientzero.config.files import load_preset
from efficientzero.process.free_ports import free_port
from efficientzero.rpc.stubs import run_pb2
from efficientzero.runs.results.run_summary import Outcome, save_summary, summarize
from efficientzero.runs.run_folder import RunInfo
from efficientzero.schema import EnvSpec
from tests.support.cases.wandb_cases import wandb_file


@pytest.fixture
def run(tmp_path) -> RunInfo:
    """Return a run whose learner's port nobody listens at."""
    port = free_port()
    folder = tmp_path / "my runs" / "catch 1"
    folder.mkdir(parents=True)
    made = RunInfo(
        run_id="catch 1",
        run_uid="0011aabb",
        group="Catch-v0",
        directory=folder,
        config=load_preset("catch"),
        env_spec=EnvSpec(
            env_id="Catch-v0",
            frame_shape=(1, 10, 5),
            frame_dtype="uint8",
            num_actions=3,
            num_stacked_frames=1,
        ),
        replay_address="127.0.0.1:1",
        learner_address=f"127.0.0.1:{port}",
        tracking_mode="disabled",
        versions={},
    )
    made.save()
    return made


def end(run: RunInfo, code: int, reason: str, *, is_final: bool = False) -> None:
    line = {"weights_version": 9, "is_final": is_final, "returns": [0.5], "return_mean": 0.5}
    (run.directory / "evaluations.jsonl").write_text(json.dumps(line) + "\n")
    games = [{"env_steps": 9, "return": value} for value in (-1.0, 1.0, 1.0, 1.0)]
    text = "".join(json.dumps(game) + "\n" for game in games)
    (run.directory / "episodes.jsonl").write_text(text)
    counts = run_pb2.RunStatus(env_steps=900, train_steps=700, phase=run_pb2.FINISHED)
    save_summary(run, summarize(run, Outcome(code, reason), status=counts, wall_s=61.0))


@pytest.fixture
def quick(monkeypatch):
    """Do not wait 5 s for a learner that is not there."""
    monkeypatch.setattr(status, "_ANSWER_S", 0.2)


def test_a_finished_run_says_so_and_what_it_returned(run, capsys):
    end(run, 0, "budget", is_final=True)
    assert status.main([str(run.directory)]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "finished"
    text = "\n".join(lines)
    assert "0.5 (mean of 1 episodes, final evaluation)" in text
    assert "900 of 12,000 env_steps, 700 of 2,450 train_steps (2,400 + 50" in text
    assert "training   0.5 (mean of the newest 4 of 4 games played to train on)" in lines
    assert "resume" not in text


@pytest.mark.parametrize(
    ("code", "reason", "word"), [(130, "interrupted", "stopped"), (1, "failed: x", "failed")]
)
def test_a_run_that_ended_sooner_names_its_exit_code_and_how_it_goes_on(
    run, capsys, quick, code, reason, word
):
    end(run, code, reason)
    assert status.main([str(run.directory)]) == code
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == word
    assert f"{reason}, exit code {code}" in lines[0]
    (resume,) = [line for line in lines if line.startswith("resume ")]
    assert resume.endswith(f"launch.py --local --resume '{run.directory}'")


def test_the_address_of_a_run_that_ended_finds_its_folder(run, capsys, quick):
    end(run, 0, "budget", is_final=True)
    arguments = [run.learner_address, "--runs-dir", str(run.directory.parent), "--json"]
    assert status.main(arguments) == 0
    values = json.loads(capsys.readouterr().out)
    assert (values["phase"], values["exit_code"], values["eval_return_mean"]) == (
        "finished",
        0,
        0.5,
    )
    assert values["directory"] == str(run.directory)


def test_without_answer_and_summary_both_are_named(run, capsys, quick):
    assert status.main([str(run.directory)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"no answer from {run.learner_address}: " in line
    assert f"no summary.json in {run.directory}" in line


def test_a_summary_that_cannot_be_read_is_not_taken_for_none(run, capsys):
    (run.directory / "summary.json").write_text('{"exit_code": 0')
    assert status.main([str(run.directory)]) == 2
    assert "summary.json: not readable: JSONDecodeError" in capsys.readouterr().err


def test_another_run_at_the_old_address_is_not_taken_for_this_one(run):
    budget = run.config.budget
    own = run_pb2.RunStatus(
        env_steps_budget=budget.env_steps, train_steps_budget=budget.total_train_steps
    )
    assert status.other_run(own, run) == ""
    other = dataclasses.replace(run, config=load_preset("cartpole"))
    assert "another run answers at" in status.other_run(own, other)


def test_what_the_run_said_of_wandb_is_said_again(run, capsys):
    run = dataclasses.replace(run, tracking_mode="offline")
    run.save()
    for process in ("learner-0", "actor-0"):
        wandb_file(run, process, rows=int(process == "actor-0"))
    (run.directory / "logs").mkdir()
    for process in ("learner-0", "actor-0", "evaluator-0", "rank-1"):
        (run.directory / "logs" / f"{process}.log").touch()
    end(run, 0, "budget", is_final=True)
    summary = json.loads((run.directory / "summary.json").read_text())
    processes = ["actor-0", "evaluator-0", "learner-0"]
    said = summary_lines(run, summary, expected=processes)
    assert status.main([str(run.directory)]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == said
    lacks = "(no rows of learner-0) (see logs/: no file of evaluator-0)"
    assert f"recorded offline {lacks}; upload it with" in said[-1]


@pytest.mark.parametrize(
    ("port", "extent"), [("99999", "large"), ("65536", "large"), ("0", "small")]
)
def test_a_port_that_there_is_not_is_refused(capsys, port, extent):
    assert status.main([f"localhost:{port}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"localhost:{port}, whose port is too {extent}: wanted one of 1 to 65535")


def test_what_is_neither_folder_nor_address_is_refused(capsys):
    assert status.main(["runs/typo"]) == 2
    assert "got runs/typo, wanted host:port" in capsys.readouterr().err


def test_what_collapsed_in_a_run_that_ended_is_shown(run, capsys, quick):
    line = {"kind": "value", "train_steps": 3_000, "numbers": {}, "message": "the values died"}
    (run.directory / "collapses.jsonl").write_text(json.dumps(line) + "\n")
    end(run, 1, "failed: the values died")
    assert status.main([str(run.directory)]) == 1
    assert "collapse   the values died" in capsys.readouterr().out.splitlines()
    assert status.main([str(run.directory), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["warnings"] == ["the values died"]
