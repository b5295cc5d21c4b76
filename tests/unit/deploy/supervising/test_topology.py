"""Which processes a run has, in which order, with which commands."""

import dataclasses
import sys
from pathlib import Path

from deploy.supervising.topology import processes
from efficientzero.config.fields import ClusterConfig, Config
from efficientzero.runs.run_folder import RunInfo
from efficientzero.schema import EnvSpec


def run_with(cluster: ClusterConfig, folder: Path) -> RunInfo:
    spec = EnvSpec(
        env_id="Catch-v0",
        frame_shape=(1, 10, 5),
        frame_dtype="uint8",
        num_actions=3,
        num_stacked_frames=1,
    )
    return RunInfo(
        run_id="r",
        run_uid="0011aabb",
        group="g",
        directory=folder,
        config=dataclasses.replace(Config(), cluster=cluster),
        env_spec=spec,
        replay_address="127.0.0.1:1",
        learner_address="127.0.0.1:2",
        tracking_mode="disabled",
        versions={},
    )


def test_servers_start_first_and_every_index_is_there(tmp_path):
    run = run_with(ClusterConfig(num_actors=3, num_reanalyzers=2), tmp_path)
    assert [spec.name for spec in processes(run)] == [
        "replay-0",
        "learner-0",
        "reanalyzer-0",
        "reanalyzer-1",
        "actor-0",
        "actor-1",
        "actor-2",
        "evaluator-0",
    ]


def test_a_learner_on_three_devices_has_two_further_ranks_right_after_it(tmp_path):
    run = run_with(ClusterConfig(), tmp_path)
    learner = dataclasses.replace(run.config.learner, num_devices=3)
    run = dataclasses.replace(run, config=dataclasses.replace(run.config, learner=learner))
    names = [spec.name for spec in processes(run)]
    assert names[:4] == ["replay-0", "learner-0", "rank-1", "rank-2"]
    assert len(names) == len(set(names)) == 7


def test_evaluator_can_be_left_out(tmp_path):
    run = run_with(ClusterConfig(evaluator=False), tmp_path)
    assert "evaluator" not in [spec.role for spec in processes(run)]


def test_command_names_module_run_file_and_index(tmp_path):
    run = run_with(ClusterConfig(num_actors=2), tmp_path)
    argv = {spec.name: spec.argv for spec in processes(run)}
    config = str(tmp_path / "config.json")
    python = (sys.executable, "-P", "-m")
    assert argv["actor-1"] == (*python, "actor", "--config", config, "--index", "1")
    assert argv["evaluator-0"][3] == "actor.evaluator"


def test_run_file_is_absolute_wherever_the_launcher_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = run_with(ClusterConfig(), Path("runs/x"))
    assert processes(run)[0].argv[5] == str(tmp_path / "runs/x/config.json")


def test_every_module_named_exists(tmp_path):
    root = Path(__file__).resolve().parents[4]
    run = run_with(ClusterConfig(), tmp_path)
    learner = dataclasses.replace(run.config.learner, num_devices=2)
    run = dataclasses.replace(run, config=dataclasses.replace(run.config, learner=learner))
    for spec in processes(run):
        path = root / spec.argv[3].replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists()
