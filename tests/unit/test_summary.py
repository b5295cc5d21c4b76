"""What is left of a run: summary.json, its words for a person, the progress lines."""

import dataclasses
import json
import math
import subprocess
from pathlib import Path

import pytest

from deploy.display import PaceMeter, format_duration, progress_line
from deploy.local import Outcome
from deploy.summary import (
    save_summary,
    software_versions,
    summarize,
    summary_lines,
)
from efficientzero.config import Config
from efficientzero.lineage import Lineage
from efficientzero.rpc import run_pb2
from efficientzero.run_folder import RunInfo, read_lines
from efficientzero.schema import EnvSpec


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


def test_half_written_line_is_left_out(run):
    whole = evaluation(100, [1.0], is_final=False)
    write_evaluations(run, whole, whole[:20])
    assert len(read_lines(run.directory / "evaluations.jsonl")) == 1


def test_summary_file_is_json_with_the_same_content(run):
    summary = summarize(run, Outcome(0, "budget"), status=STATUS, wall_s=1.0)
    assert json.loads(save_summary(run, summary).read_text()) == summary


def test_words_name_the_upload_command_and_the_folder(run):
    summary = summarize(run, Outcome(0, "budget"), status=STATUS, wall_s=3661.0)
    text = "\n".join(summary_lines(run, summary))
    assert f"wandb beta sync {run.directory}/wandb" in text
    assert "1:01:01" in text


def test_words_name_the_command_for_what_an_online_run_could_not_upload(run):
    online = dataclasses.replace(run, tracking_mode="online")
    summary = summarize(online, Outcome(0, "budget"), status=STATUS, wall_s=1.0)
    assert "wandb sync" not in "\n".join(summary_lines(online, summary))
    listed = run.directory / "wandb" / "not-uploaded"
    listed.parent.mkdir()
    listed.write_text("one\ntwo\n")
    text = "\n".join(summary_lines(online, summary))
    assert f"xargs -d '\\n' -n 1 wandb sync < {listed}" in text


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
