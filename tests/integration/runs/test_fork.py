"""Runs that begin with another run's replay: real Reverb, real processes."""

import json
import struct
import zlib

import numpy as np
import pytest

from deploy.checks.fork import find_fork, place_fork
from deploy.results.wandb_history import find_runs
from efficientzero.process.runtime import StopSignal
from efficientzero.schema import Ending
from replay.info import ReplayInfo, wait_until_ready
from replay.snapshots.facts import read_snapshot
from replay.snapshots.folder import reverbs_name
from replay.snapshots.request import request_snapshot
from replay.steps.priorities import PriorityUpdater
from replay.steps.slice_sampler import SliceSampler
from tests.integration.local_runs import TINY, LocalRun
from tests.integration.replay.test_replay_service import (
    CONFIG,
    PATIENCE_S,
    draw,
    free_address,
    start_service,
    write,
)
from tests.support.cases.replay_cases import IMAGES, random_episode

pytestmark = [pytest.mark.slow, pytest.mark.reverb]

ENV_STEPS, MORE_ENV_STEPS, TRAIN_STEPS, LAST_TRAIN_STEPS = 403, 451, 40, 4
QUEUE_SIZE = 2
BUDGET = (
    *("--budget.env-steps", str(ENV_STEPS), "--budget.warmup-env-steps", "100"),
    *("--budget.train-steps", str(TRAIN_STEPS)),
    *("--budget.last-train-steps", str(LAST_TRAIN_STEPS)),
    *("--learner.checkpoint-interval", "20"),
    *("--evaluator.num-episodes", "2", "--evaluator.final-num-episodes", "3"),
)


def read_all(address, num_steps, stop):
    """Return key -> priority and slice of every step that replay holds."""
    sampler, found = SliceSampler(address, IMAGES, CONFIG, stop), {}
    for _ in range(200):
        batch = draw(sampler, 32)
        for i, key in enumerate(batch.keys.tolist()):
            content = (batch.frames[i].tobytes(), batch.rewards[i].tobytes())
            found[key] = (float(batch.priorities[i]), content)
        if len(found) == num_steps:
            break
    return found


def test_forked_replay_holds_the_same_steps_with_the_same_priorities(tmp_path):
    stop = StopSignal()
    rng = np.random.default_rng(0)
    episodes = [
        random_episode(IMAGES, rng, number=number, length=9, ending=Ending.TERMINATED)
        for number in range(3)
    ]
    address = free_address()
    process = start_service(tmp_path / "parent", address)
    try:
        assert wait_until_ready(address, stop, timeout_s=PATIENCE_S)
        write(episodes, IMAGES, address, stop)
        num_steps = ReplayInfo(address).read(timeout_s=30).num_steps
        before = read_all(address, num_steps, stop)
        keys = sorted(before)
        updater = PriorityUpdater(address, stop)
        changed = dict(zip(keys, np.linspace(0.5, 2.0, len(keys)).tolist(), strict=True))
        updater.update(np.array(keys, np.uint64), np.array([changed[k] for k in keys]))
        for _ in range(100):
            parents = read_all(address, num_steps, stop)
            if {key: priority for key, (priority, _) in parents.items()} == changed:
                break
        snapshot = request_snapshot(address, timeout_s=PATIENCE_S)
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE_S)
    fork = find_fork(tmp_path / "parent", is_frozen=True, takes_weights=False)
    # What is read from the file is what the service itself said.
    assert (reverbs_name(fork.snapshot), fork.facts.num_steps) == (snapshot, num_steps)
    assert fork.facts.steps_inserted == sum(map(len, episodes))
    assert (fork.facts.capacity, fork.facts.priority_exponent) == (10_000, 1.0)
    place_fork(fork, tmp_path / "arm")
    address = free_address()
    process = start_service(tmp_path / "arm", address)
    try:
        assert wait_until_ready(address, stop, timeout_s=PATIENCE_S)
        assert read_all(address, num_steps, stop) == parents
    finally:
        stop.set("end of test")
        process.kill()
        process.communicate()


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def newest_snapshot(run):
    return sorted((run.directory / "replay-0" / "kept").iterdir())[-1]


def stored_chunks(snapshot):
    """Return the records of a snapshot's data, in Reverb's own framing."""
    raw, start, records = zlib.decompress((snapshot / "chunks.tfrecord").read_bytes()), 0, []
    while start < len(raw):
        (length,) = struct.unpack_from("<Q", raw, start)
        records.append(raw[start + 12 : start + 12 + length])
        start += 16 + length
    return set(records)


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    runs_dir = tmp_path_factory.mktemp("fork") / "runs"
    with LocalRun(runs_dir, *TINY, *BUDGET, name="parent") as run:
        assert run.wait() == 0, run.output
        yield run


@pytest.fixture(scope="module")
def arm(parent):
    """A frozen run whose replay and learner are killed on the way."""
    before = files(parent.directory)
    options = ("--frozen-replay", str(parent.directory), "--learner.learning-rate", "1e-3")
    with LocalRun(parent.directory.parent, *options, name="arm") as run:
        run.wait_for_status("a train_step", lambda status: status.train_steps > 1)
        run.kill("replay-0")
        run.wait_for_output("restored snapshot 0-")
        assert run.wait() == 0, run.output
        run.parent_was = before
        yield run


def test_frozen_run_spends_its_train_steps_without_an_actor(arm):
    summary = arm.summary
    assert (summary["exit_reason"], summary["eval_is_final"]) == ("budget", True)
    assert summary["train_steps"] == TRAIN_STEPS + LAST_TRAIN_STEPS
    assert (summary["env_steps"], summary["env_steps_lost"], summary["episodes"]) == (403, 0, 0)
    assert sorted(path.stem for path in (arm.directory / "logs").iterdir()) == [
        "evaluator-0",
        "learner-0",
        "reanalyzer-0",
        "replay-0",
    ]


def test_frozen_replay_ends_with_the_data_that_it_began_with(parent, arm):
    recorded, kept = newest_snapshot(parent), newest_snapshot(arm)
    assert kept.name != f"0-{recorded.name}"  # written by the arm itself
    before, after = stored_chunks(recorded), stored_chunks(kept)
    # Beside the steps there are the training batches that waited in the queue, one record each.
    assert max(len(before - after), len(after - before)) <= QUEUE_SIZE
    assert len(before & after) > 10 * QUEUE_SIZE
    facts = read_snapshot(kept)
    assert (facts.steps_inserted, facts.num_steps) == (ENV_STEPS, ENV_STEPS)


def test_finished_run_has_recorded_all_its_env_steps(parent):
    assert read_snapshot(newest_snapshot(parent)).steps_inserted == ENV_STEPS


def test_the_other_runs_folder_is_as_it_was(parent, arm):
    assert files(parent.directory) == arm.parent_was


def test_lineage_is_in_config_summary_wandb_and_group(parent, arm):
    digest = read_snapshot(newest_snapshot(parent)).digest
    lineage = arm.config["lineage"]
    assert (lineage["parent"], lineage["parent_uid"]) == ("parent", parent.config["run_uid"])
    assert (lineage["replay_digest"], lineage["is_frozen"]) == (digest, True)
    assert arm.summary["lineage"] == lineage
    runs = [run for run in find_runs(arm.directory / "wandb") if run.config]
    assert runs
    assert all(run.config["lineage"] == lineage for run in runs)
    assert f"frozen=r{digest}" in arm.config["group"] or digest in json.dumps(lineage)
    assert arm.config["group"] != parent.config["group"]
    assert arm.config["config_hash"] != parent.config["config_hash"]
    assert parent.config["lineage"] is None


def test_fork_with_weights_goes_on_in_counts_and_ends_at_its_own_budget(parent):
    options = (
        *("--fork-from", str(parent.directory), "--fork-weights", "--seed", "5"),
        *("--budget.env-steps", str(MORE_ENV_STEPS), "--budget.train-steps", "60"),
        *("--learner.consistency-coefficient", "0", "--actors", "2"),
    )
    with LocalRun(parent.directory.parent, *options, name="fork") as run:
        assert run.wait() == 0, run.output
        assert "begun with another run's weights of train_step 44" in run.output
    summary = run.summary
    assert (summary["env_steps"], summary["train_steps"]) == (MORE_ENV_STEPS, 60 + LAST_TRAIN_STEPS)
    assert (summary["lineage"]["train_step"], summary["lineage"]["env_steps"]) == (44, ENV_STEPS)
    assert read_snapshot(newest_snapshot(run)).steps_inserted == MORE_ENV_STEPS
