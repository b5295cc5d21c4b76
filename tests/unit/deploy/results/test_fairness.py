"""The fairness stamp, from the learner's counts to the runs that are flagged; numbers by hand."""

import dataclasses
import json

import numpy as np
import pytest

from deploy.results.fairness import read_stamp, stamp_line, unfair
from deploy.results.summary import summary_lines
from efficientzero.rpc.stubs import run_pb2
from efficientzero.runs.results.env_step_journal import EnvStepJournal
from efficientzero.runs.results.fairness_stamp import Stamp, make_stamp
from efficientzero.runs.results.run_summary import Outcome, save_summary, summarize
from learner.records.fairness_record import FairnessRecord
from replay.format import TrainingBatch
from replay.info import ReplayCounts
from tests.support.fakes import tiny_config, tiny_run

# env_steps 100, of these 10 warm-up; train_steps 18 + 4: 0.2 per env_step; batches of 8.
CONFIG = dataclasses.replace(
    tiny_config(), budget=dataclasses.replace(tiny_config().budget, train_steps=18)
)


def batch(weights, targets):
    """Return a batch trained with weights and targets of these train_steps, and nothing else."""
    empty = TrainingBatch(**dict.fromkeys(TrainingBatch._fields, np.zeros(0)))
    return empty._replace(
        weights_versions=np.array(weights, np.int64),
        target_weights_versions=np.array(targets, np.int64),
    )


def counts(**changes):
    values = {
        "num_steps": 100,
        "steps_inserted": 100,
        "steps_sampled": 160,
        "unique_steps_sampled": 90,
        "num_queued_batches": 1,
        "batches_inserted": 5,
    }
    return ReplayCounts(**{**values, **changes})


def recorded(directory, **changes):
    """Record three batches, the last one after collection has ended."""
    record = FairnessRecord(directory, CONFIG)
    record.add_batch(batch([0] * 8, [0] * 8), 1, 20)
    record.add_batch(batch([0, 0, 0, 0, 5, 5, 5, 5], [8] * 8), 10, 60)
    record.add_batch(batch([10] * 8, [20] * 7 + [0]), 22, 100)
    record.set_replay_counts(counts(**changes))
    record.save()
    return record


def test_stamp_is_what_was_counted(tmp_path):
    recorded(tmp_path)
    stamp = make_stamp(tmp_path, CONFIG, env_steps=103)
    # Ages of weights: 1 x 8, 10 x 4, 5 x 4, 12 x 8. Of targets: 1 x 8, 2 x 8, 2 x 7, 22 x 1.
    assert stamp == Stamp(
        replay_ratio=10 / 50,  # 10 train_steps for the 60 - 10 env_steps after warm-up
        configured_replay_ratio=0.2,
        weight_age_mean=(8 + 40 + 20 + 96) / 24,
        weight_age_p95=12.0,
        target_age_mean=(8 + 16 + 14 + 22) / 24,
        target_age_p95=2.0,  # 23 of 24 are at most 2: 95.8 %
        slices=24,
        env_steps=103,
        env_steps_lost=3,
        env_steps_evicted=0,
        env_steps_never_sampled=10,
        env_steps_evicted_unsampled=0,
        batches_unused=2,  # 5 queued, 3 trained on
    )


def test_steps_evicted_unsampled_are_not_known_once_steps_of_both_kinds_are(tmp_path):
    recorded(tmp_path, num_steps=40)
    stamp = make_stamp(tmp_path, CONFIG, env_steps=100)
    assert (stamp.env_steps_evicted, stamp.env_steps_never_sampled) == (60, 10)
    assert stamp.env_steps_evicted_unsampled is None


def test_without_replays_counts_the_stamp_says_not_counted(tmp_path):
    record = FairnessRecord(tmp_path, CONFIG)
    record.add_batch(batch([0] * 8, [0] * 8), 1, 20)
    record.save()
    stamp = make_stamp(tmp_path, CONFIG, env_steps=100)
    assert stamp.env_steps_lost is None
    assert "env_steps lost not counted" in stamp_line(stamp)


@pytest.mark.parametrize(("played", "lost"), [(99, None), (100, 4)])
def test_nothing_is_lost_while_actors_hold_the_ends_of_episodes(tmp_path, played, lost):
    recorded(tmp_path, steps_inserted=96)
    old = run_pb2.RunStatus(phase=run_pb2.FINISHED, env_steps=90, steps_inserted=40)
    EnvStepJournal(tmp_path, 0).write(played)
    summary = summarize(tiny_run(tmp_path, CONFIG), Outcome(0, "budget"), status=old, wall_s=1.0)
    assert summary["env_steps"] == summary["fairness"]["env_steps"] == played
    assert summary["env_steps_lost"] == summary["fairness"]["env_steps_lost"] == lost


def test_counts_of_a_learner_that_was_killed_are_not_taken_for_its_successors(tmp_path):
    recorded(tmp_path).begin()
    assert make_stamp(tmp_path, CONFIG, env_steps=100) is None
    old = run_pb2.RunStatus(phase=run_pb2.FINISHED, env_steps=100, steps_inserted=40)
    summary = summarize(tiny_run(tmp_path, CONFIG), Outcome(1, "failed"), status=old, wall_s=1.0)
    assert summary["env_steps_lost"] is None


def test_a_record_goes_on_from_a_checkpoint(tmp_path):
    state = recorded(tmp_path).state()
    again = FairnessRecord(tmp_path, CONFIG)
    again.restore(state)
    again.add_batch(batch([22] * 8, [22] * 8), 23, 100)
    again.save()
    stamp = make_stamp(tmp_path, CONFIG, env_steps=100)
    assert stamp.slices == 32
    assert stamp.weight_age_mean == (8 + 40 + 20 + 96 + 8) / 32
    assert stamp.replay_ratio == 0.2


def test_a_run_that_never_trained_has_no_stamp(tmp_path):
    assert make_stamp(tmp_path, CONFIG, env_steps=0) is None
    FairnessRecord(tmp_path, CONFIG).save()
    assert make_stamp(tmp_path, CONFIG, env_steps=0) is None
    assert stamp_line(None).startswith("not known: nothing was trained")


@pytest.mark.parametrize("num_bytes", [0, 100])
def test_a_damaged_file_is_not_taken_for_a_run_without_training(tmp_path, num_bytes):
    recorded(tmp_path)
    path = tmp_path / "fairness.npz"
    path.write_bytes(path.read_bytes()[:num_bytes])
    with pytest.raises(ValueError, match=r"fairness\.npz: not readable: (BadZipFile|EOFError)"):
        make_stamp(tmp_path, CONFIG, env_steps=100)
    run = tiny_run(tmp_path, CONFIG)
    summary = summarize(run, Outcome(0, "budget"), status=None, wall_s=1.0)
    (line,) = [line for line in summary_lines(run, summary) if line.startswith("fairness")]
    assert "fairness.npz: not readable" in line
    assert "nothing was trained" not in line


def test_a_run_that_played_nothing_says_so(tmp_path):
    recorded(tmp_path)
    stamp = make_stamp(tmp_path, CONFIG, env_steps=100)
    line = stamp_line(dataclasses.replace(stamp, replay_ratio=None))
    assert line.startswith(
        "no env_steps were played (configured 0.2 train_steps per env_step); age in train_steps"
    )


def test_summary_holds_the_stamp_and_its_words(tmp_path):
    recorded(tmp_path)
    run = tiny_run(tmp_path, CONFIG)
    status = run_pb2.RunStatus(env_steps=100, train_steps=24)
    summary = summarize(run, Outcome(0, "budget"), status=status, wall_s=1.0)
    save_summary(run, summary)
    stamp = make_stamp(tmp_path, CONFIG, env_steps=100)
    assert read_stamp(tmp_path) == stamp
    assert json.loads((tmp_path / "summary.json").read_text())["fairness"]["slices"] == 24
    (line,) = [line for line in summary_lines(run, summary) if line.startswith("fairness")]
    assert "0.2 train_steps per env_step (configured 0.2)" in line
    assert "never sampled 10" in line


def test_a_folder_without_a_summary_has_no_stamp(tmp_path):
    assert read_stamp(tmp_path) is None


@pytest.fixture
def fair(tmp_path):
    recorded(tmp_path)
    stamp = make_stamp(tmp_path, CONFIG, env_steps=100)
    return dataclasses.replace(stamp, weight_age_mean=100.0, weight_age_p95=200.0)


def test_runs_alike_are_not_flagged(fair):
    near = dataclasses.replace(fair, weight_age_mean=120.0, weight_age_p95=170.0)
    assert unfair({"a": fair, "b": near, "c": fair}) == []
    assert unfair({}) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"weight_age_mean": 126.0}, "mean weight age 126 train_steps, 100 in the median run"),
        ({"weight_age_p95": 120.0}, "95 % weight age 120"),
        ({"target_age_mean": 14.0}, "mean target age 14"),
        ({"replay_ratio": 0.21001}, "0.21 train_steps per env_step, configured 0.2"),
        ({"env_steps_lost": 2}, "2 of 100 env_steps lost"),
        ({"env_steps_evicted": 50}, "10 of 100 env_steps perhaps evicted unsampled"),
    ],
)
def test_a_run_that_differs_is_flagged_by_name_with_the_reason(fair, change, words):
    flags = unfair({"a": fair, "odd": dataclasses.replace(fair, **change), "c": fair})
    (flag,) = flags
    assert flag.startswith("odd: ")
    assert words in flag


def test_differences_of_a_few_train_steps_are_no_reason(fair):
    assert (
        unfair({"a": fair, "b": dataclasses.replace(fair, target_age_mean=12.0), "c": fair}) == []
    )


def test_a_run_without_a_stamp_is_flagged(fair):
    assert unfair({"a": fair, "b": None}) == ["b: has no fairness stamp"]
