"""What is left of a run: summary.json, its words for a person, the progress lines."""

import dataclasses
import json
import math
import shlex
import subprocess
from pathlib import Path

import pytest

from deploy.results.summary import format_duration, software_versions, summary_lines
from deploy.supervising.display import PaceMeter, progress_line
from efficientzero.config.fields import Config
from efficientzero.rpc.stubs import run_pb2
from efficientzero.runs.checkpoint import save_checkpoint
from efficientzero.runs.lineage import Lineage
from efficientzero.runs.results.env_step_journal import EnvStepJournal
from efficientzero.runs.results.run_summary import Outcome, save_summary, summarize
from efficientzero.runs.run_folder import RunInfo, read_lines
from efficientzero.schema import EnvSpec
from tests.support.cases.wandb_cases import wandb_file


@pytest.fixture
def run(tmp_path) -> RunInfo:
    spec = EnvSpec(
        env_id="Catch-v0",
        frame_shape=(1, 10, 5),
        frame_dtype="uint8",
        num_actions=3,
        num_stacked_frames=1,
    )
    return RunInfo(
        run_id="catch-1",
        run_uid="0011aabb",
        group="Catch-v0",
        directory=tmp_path,
        config=Config(seed=7),
        env_spec=spec,
        replay_address="127.0.0.1:1",
        learner_address="127.0.0.1:2",
        tracking_mode="offline",
        versions={"torch": "1"},
    )


def evaluation(version: int, returns: list[float], *, is_final: bool) -> str:
    mean = sum(returns) / len(returns)
    return json.dumps(
        {
            "weights_version": version,
            "is_final": is_final,
            "returns": returns,
            "return_mean": mean,
        }
    )


def write_evaluations(run: RunInfo, *lines: str) -> None:
    (run.directory / "evaluations.jsonl").write_text("\n".join(lines))


STATUS = run_pb2.RunStatus(
    phase=run_pb2.COLLECTING,
    env_steps=500,
    env_steps_budget=1000,
    train_steps=200,
    train_steps_budget=800,
    episodes=12,
    replay_items=480,
    last_returns=[1.0, -1.0, 3.0],
    last_eval_return_mean=math.nan,
    waiting_for="actors",
)


def test_final_evaluation_is_the_result_even_if_another_line_follows(run):
    write_evaluations(
        run,
        evaluation(100, [0.0], is_final=False),
        evaluation(200, [1.0, 0.5], is_final=True),
        evaluation(150, [-1.0], is_final=False),
    )
    summary = summarize(run, Outcome(0, "budget"), status=STATUS, wall_s=12.34)
    assert summary["eval_return_mean"] == 0.75
    assert summary["eval_returns"] == [1.0, 0.5]
    assert summary["eval_is_final"] is True
    assert (summary["env_steps"], summary["train_steps"], summary["episodes"]) == (500, 200, 12)
    assert (summary["seed"], summary["group"], summary["wall_s"]) == (7, "Catch-v0", 12.3)
    assert summary["config_hash"] == run.config_hash
    assert (summary["exit_code"], summary["exit_reason"]) == (0, "budget")


def test_without_a_final_evaluation_the_newest_counts(run):
    write_evaluations(
        run, evaluation(100, [0.0], is_final=False), evaluation(200, [2.0], is_final=False)
    )
    summary = summarize(run, Outcome(130, "interrupted"), status=STATUS, wall_s=1.0)
    assert (summary["eval_return_mean"], summary["eval_is_final"]) == (2.0, False)


def test_run_that_never_started_has_a_summary_too(run):
    summary = summarize(run, Outcome(1, "failed: x"), status=None, wall_s=1.0)
    assert summary["eval_return_mean"] is None
    assert (summary["env_steps"], summary["eval_returns"]) == (0, [])
    assert "none" in "\n".join(summary_lines(run, summary))


def test_what_the_folder_proves_counts_where_the_last_status_is_older(run):
    def counts():
        summary = summarize(run, Outcome(1, "failed"), status=run_pb2.RunStatus(), wall_s=1.0)
        return summary["env_steps"], summary["train_steps"], summary["episodes"]

    assert counts() == (0, 0, 0)
    game = json.dumps({"return": 1.0, "env_steps": 200})
    (run.directory / "episodes.jsonl").write_text(f"{game}\n{game}\n")
    assert counts() == (200, 0, 2)
    state = {"train_step": 11, "env_steps": 220, "network": {}}
    save_checkpoint(run.directory / "checkpoints", 11, state, keep=2)
    assert counts() == (220, 11, 2)
    EnvStepJournal(run.directory, 0).write(240)
    assert counts() == (240, 11, 2)
    summary = summarize(run, Outcome(1, "failed"), status=None, wall_s=1.0)
    assert "240 of 100,000 env_steps, 11 of" in "\n".join(summary_lines(run, summary))


def test_what_has_collapsed_is_in_the_summary_and_in_its_words(run):
    summary = summarize(run, Outcome(0, "budget"), status=STATUS, wall_s=1.0)
    assert summary["collapse"] == []
    assert not [line for line in summary_lines(run, summary) if line.startswith("collapse")]
    lines = [
        {
            "kind": kind,
            "train_steps": 3_000,
            "numbers": {"learner/x": 0.5},
            "message": f"{kind} died",
        }
        for kind in ("value", "latent")
    ]
    (run.directory / "collapses.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    summary = summarize(run, Outcome(0, "budget"), status=STATUS, wall_s=1.0)
    assert summary["collapse"] == lines
    text = summary_lines(run, summary)
    assert {"collapse   value died", "collapse   latent died"} <= set(text)
    del summary["collapse"]  # as older versions wrote it
    assert len(summary_lines(run, summary)) == len(text) - 2


def test_half_written_line_is_left_out(run):
    whole = evaluation(100, [1.0], is_final=False)
    write_evaluations(run, whole, whole[:20])
    assert len(read_lines(run.directory / "evaluations.jsonl")) == 1


def test_summary_file_is_json_with_the_same_content(run):
    summary = summarize(run, Outcome(0, "budget"), status=STATUS, wall_s=1.0)
    assert json.loads(save_summary(run, summary).read_text()) == summary


def last_line(run, **known) -> str:
    """Return what a run says last, about wandb, or that it says nothing."""
    summary = summarize(run, Outcome(0, "budget"), status=STATUS, wall_s=3661.0)
    assert "1:01:01" in "\n".join(summary_lines(run, summary))
    last = summary_lines(run, summary, **known)[-1]
    return last.removeprefix("wandb").strip() if last.startswith("wandb") else ""


def test_last_line_names_the_upload_command_of_what_is_on_disk(run):
    wandb_file(run, "learner-0")
    command = f"wandb beta sync {run.directory}/wandb"
    assert last_line(run) == f"recorded offline; upload it with: {command}"
    assert last_line(run, expected=["learner-0"]) == last_line(run)


def test_last_line_does_not_say_recorded_where_nothing_is(run):
    expected = ["learner-0", "actor-0"]
    told = last_line(run, expected=expected)
    lacks = "(see logs/: no file of learner-0, actor-0)"
    assert told == f"no metrics were recorded in {run.directory}/wandb {lacks}"
    wandb_file(run, "learner-0", rows=0)
    told = last_line(run, expected=expected)
    assert told.startswith("no metrics were recorded in ")
    assert told.endswith(" (no rows of learner-0) (see logs/: no file of actor-0)")
    wandb_file(run, "actor-0")
    assert last_line(run, expected=expected).startswith("recorded offline (no rows of learner-0); ")


def test_last_line_is_about_this_launch(run):
    before = {wandb_file(run, "learner-0", launch=1)}
    told = last_line(run, expected=["learner-0"], wandb_before=before)
    assert told.startswith("no metrics were recorded in ")
    assert "there is more of earlier launches, upload it with: wandb beta sync" in told
    wandb_file(run, "learner-0", launch=2)
    told = last_line(run, expected=["learner-0"], wandb_before=before)
    assert told.startswith("recorded offline; ")


def test_last_line_of_an_untracked_run_is_not_about_wandb(run):
    assert last_line(dataclasses.replace(run, tracking_mode="disabled")) == ""


def test_upload_commands_can_be_pasted_whatever_the_folders_name(run, tmp_path):
    odd = dataclasses.replace(run, directory=tmp_path / "it's $HOME; a b")
    wandb_file(odd, "learner-0")
    command = last_line(odd).partition(" with: ")[2]
    assert shlex.split(command) == ["wandb", "beta", "sync", str(odd.directory / "wandb")]
    online = dataclasses.replace(odd, tracking_mode="online")
    (odd.directory / "wandb" / "not-uploaded").write_text("one a\ntwo\n")
    upload = last_line(online).partition(" with: ")[2].replace("wandb sync", "printf '<%s>'")
    shown = subprocess.run(["bash", "-c", upload], capture_output=True, text=True, check=True)
    assert shown.stdout == "<one a><two>"


def test_files_that_are_not_there_are_not_named(run):
    def files():
        summary = summarize(run, Outcome(0, "budget"), status=STATUS, wall_s=1.0)
        (line,) = [line for line in summary_lines(run, summary) if line.startswith("files")]
        return line.partition(" (")[2]

    assert files() == "nothing is there)"
    (run.directory / "logs").mkdir()
    (run.directory / "summary.json").write_text("{}")
    assert files() == "summary.json, logs/)"


def test_train_steps_that_no_checkpoint_holds_are_named(run):
    def unsaved():
        summary = summarize(run, Outcome(1, "failed"), status=STATUS, wall_s=1.0)
        return [line for line in summary_lines(run, summary) if line.startswith("not saved")]

    assert unsaved() == []  # "none saved" is said already
    save_checkpoint(run.directory / "checkpoints", 150, {"train_step": 150, "network": {}}, keep=2)
    assert unsaved() == ["not saved  the 50 train_steps after the checkpoint of train_step 150"]
    save_checkpoint(run.directory / "checkpoints", 200, {"train_step": 200, "network": {}}, keep=2)
    assert unsaved() == []


def test_words_name_the_command_for_what_an_online_run_could_not_upload(run):
    online = dataclasses.replace(run, tracking_mode="online")
    summary = summarize(online, Outcome(0, "budget"), status=STATUS, wall_s=1.0)
    assert "wandb sync" not in "\n".join(summary_lines(online, summary))
    listed = run.directory / "wandb" / "not-uploaded"
    listed.parent.mkdir()
    listed.write_text("one\ntwo\n")
    text = "\n".join(summary_lines(online, summary))
    upload = f"(cd {listed.parent} && xargs -d '\\n' -n 1 wandb sync < not-uploaded)"
    assert f"not everything was uploaded; upload it with: {upload}" in text


def test_versions_name_the_commit_of_the_checkout(tmp_path):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    head = subprocess.run(
        [*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    versions = software_versions(tmp_path)
    assert versions["git_commit"] == head
    assert {"python", "torch", "reverb", "gymnasium", "ale-py", "wandb"} <= set(versions)


def test_folder_outside_git_has_no_commit(tmp_path):
    assert "git_commit" not in software_versions(Path(tmp_path))


def test_pace_is_the_change_over_the_window():
    meter = PaceMeter()
    meter.update(0.0, run_pb2.RunStatus(env_steps=0, train_steps=0, train_steps_budget=800))
    pace = meter.update(10.0, STATUS)
    assert pace == (50.0, 20.0, 30.0)  # 600 train_steps left at 20 per second


def test_eta_is_unknown_before_training():
    meter = PaceMeter()
    assert meter.update(0.0, run_pb2.RunStatus(train_steps_budget=800)).eta_s is None
    assert format_duration(None) == "-"


def test_progress_line_says_all_that_a_person_asks():
    line = progress_line(STATUS, PaceMeter().update(0.0, STATUS))
    assert "env_steps 500/1,000" in line
    assert "train_steps 200/800" in line
    assert "replay 480 items" in line
    assert "return 1 (mean of last 3 episodes)" in line
    assert "waiting for actors" in line
    assert "evaluation" not in line


def test_progress_line_after_training_waits_for_the_final_evaluation():
    status = run_pb2.RunStatus(phase=run_pb2.FINISHED, last_eval_version=5)
    line = progress_line(status, PaceMeter().update(0.0, status))
    assert "evaluation 0 at train_step 5" in line
    assert "waiting for the final evaluation" in line


def test_what_a_run_took_from_another_is_in_its_summary(run):
    lineage = Lineage(
        parent="pong",
        parent_uid="89abcdef",
        parent_group="g",
        snapshot="2026-01-01",
        replay_digest="0123456789ab",
        env_steps=12_000,
        is_frozen=True,
        train_step=3_000,
        weights_digest="ba9876543210",
    )
    taken = dataclasses.replace(run, lineage=lineage)
    outcome = Outcome(0, "budget")
    summary = summarize(taken, outcome, status=None, wall_s=1.0)
    assert summary["lineage"] == dataclasses.asdict(lineage)
    text = "frozen replay of pong: 12,000 env_steps, 0123456789ab; weights of its train_step 3,000"
    assert f"lineage    {text}" in summary_lines(taken, summary)
    plain = summarize(run, outcome, status=None, wall_s=1.0)
    assert plain["lineage"] is None
    assert not any(line.startswith("lineage") for line in summary_lines(run, plain))
