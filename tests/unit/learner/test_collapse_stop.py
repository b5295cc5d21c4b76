"""A learner whose latents are all the same: what it says, what it writes, and how it ends."""

import json
import logging

import pytest
import torch

from efficientzero.process.runtime import StopSignal
from efficientzero.runs.checkpoint import list_checkpoints, load_checkpoint
from efficientzero.runs.lease import take_lease
from learner.cluster import Starvation
from learner.learner import Learner
from learner.pacing.governor import Governor
from learner.parts import LearnerParts, RunObserver
from learner.records import CheckpointSaver, FairnessRecord, RunRecord
from learner.training import CollapseAlarm, TrainingCollapsed, collapse
from learner.weights import WeightPublisher
from tests.support.cases.config_cases import changed
from tests.support.fakes import (
    FakeBatchSource,
    FakePriorities,
    MemoryTracker,
    tiny_config,
    tiny_run,
)
from tests.support.training_batches import training_batch

TRAIN_STEPS, NOTICED_AT = 8, 6
FIELDS = {
    "learner.log_interval": 1,
    "learner.batch_size": 16,
    "learner.max_batch_staleness": 1_000,
    "learner.publish_interval": 2,
    "learner.target_interval": 3,
    "budget.train_steps": TRAIN_STEPS - 2,
    "budget.last_train_steps": 2,
}


@pytest.fixture
def soon(monkeypatch):
    """Let rows count from the fourth on, and three of them be enough."""
    monkeypatch.setattr(collapse, "_FIRST_ROWS", NOTICED_AT - 3)
    monkeypatch.setattr(collapse, "_ROWS_IN_A_ROW", 3)
    monkeypatch.setattr(collapse, "_FIRST_TRAIN_STEPS", 0)


class Bench:
    """The learner with everything that it keeps in the run folder."""

    def __init__(self, folder, **fields):
        torch.set_num_threads(1)
        config = changed(tiny_config(), {**FIELDS, **fields})
        run, stop = tiny_run(folder, config), StopSignal()
        governor, self.record, self.tracker = Governor(config), RunRecord(folder), MemoryTracker()
        governor.restore(env_steps=config.budget.env_steps, train_steps=0)
        parts = LearnerParts(
            device=torch.device("cpu"),
            batches=FakeBatchSource([training_batch(config, i) for i in range(TRAIN_STEPS)], stop),
            priorities=FakePriorities(config.learner.batch_size),
            publisher=WeightPublisher(),
            governor=governor,
            saver=CheckpointSaver(folder / "checkpoints", keep=2, stop=stop),
            tracker=self.tracker,
            stop=stop,
        )
        observer = RunObserver(
            record=self.record,
            fairness=FairnessRecord(folder, config),
            starvation=Starvation(governor),
            lease=take_lease(folder, "learner-0", launch=0),
            alarm=CollapseAlarm(config),
        )
        self.learner = Learner(run, parts, observer)

        def same(_module, _arguments, latents):
            return latents[:1].expand_as(latents)

        self.learner.network.representation.register_forward_hook(same)


@pytest.mark.usefixtures("soon")
def test_a_collapse_is_warned_of_once_and_training_goes_on(tmp_path, caplog):
    bench = Bench(tmp_path)
    with caplog.at_level(logging.WARNING, logger="learner.parts"):
        bench.learner.run()
    assert bench.learner.train_step == TRAIN_STEPS
    warnings = tuple(r.getMessage() for r in caplog.records if r.name == "learner.parts")
    ((start, of_values), (_, of_latents)) = (each.split(": ")[:2] for each in warnings)
    assert start == f"train_step {NOTICED_AT}"
    assert (of_values, of_latents) == ("the values have collapsed", "the latents have collapsed")
    assert bench.record.snapshot().collapses == warnings
    value, latent = map(json.loads, (tmp_path / "collapses.jsonl").read_text().splitlines())
    assert (value["kind"], latent["kind"]) == ("value", "latent")
    assert (latent["train_steps"], latent["message"]) == (NOTICED_AT, warnings[1])
    rank = bench.tracker.rows[NOTICED_AT - 1]["learner/latent_rank"]
    assert latent["numbers"] == {"learner/latent_rank": rank}


@pytest.mark.usefixtures("soon")
def test_with_the_switch_the_run_ends_and_its_newest_state_is_saved(tmp_path):
    bench = Bench(tmp_path, **{"learner.stop_on_collapse": True})
    with pytest.raises(TrainingCollapsed, match=r"the values have collapsed.*weights are saved"):
        bench.learner.run()
    assert TrainingCollapsed.is_permanent  # it is not started again, which would change nothing
    state = load_checkpoint(list_checkpoints(tmp_path / "checkpoints")[-1])
    assert state["train_step"] == NOTICED_AT == len(bench.tracker.rows)
    for name, tensor in bench.learner.network.state_dict().items():
        assert torch.equal(state["network"][name], tensor), name
    assert (tmp_path / "collapses.jsonl").exists()


def test_lines_after_the_checkpoint_go_and_what_is_left_is_not_written_again(tmp_path):
    record = RunRecord(tmp_path)
    for kind, train_steps in (("value", 10), ("latent", 20)):
        line = {"kind": kind, "train_steps": train_steps, "numbers": {}, "message": f"{kind} died"}
        record.add_collapse(line)
        record.add_collapse({**line, "train_steps": train_steps + 1})
    assert record.snapshot().collapses == ("value died", "latent died")
    again = RunRecord(tmp_path)
    again.restore(record.state(), env_steps=100, train_steps=15)
    assert again.snapshot().collapses == ("value died",)
    again.add_collapse({"kind": "value", "train_steps": 30, "numbers": {}, "message": "again"})
    (line,) = map(json.loads, (tmp_path / "collapses.jsonl").read_text().splitlines())
    assert line["train_steps"] == 10
