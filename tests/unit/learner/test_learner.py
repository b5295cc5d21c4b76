"""The learner's loop on a real network, governor, publisher and disk; batches are made up."""

import copy
import dataclasses
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from efficientzero.config.schedules import learning_rate
from efficientzero.process.runtime import StopSignal
from efficientzero.rpc.stubs import weights_pb2
from efficientzero.rpc.weights_codec import decode_weights
from efficientzero.runs.checkpoint import list_checkpoints, load_checkpoint
from learner.learner import Learner
from learner.pacing.governor import Governor
from learner.parts import LearnerParts
from learner.records.saver import CheckpointSaver
from learner.training.update import Readback, TrainingDiverged, Updater
from learner.weights.publisher import WeightPublisher
from tests.support.cases.loss_cases import changed
from tests.support.fakes import (
    FakeBatchSource,
    FakePriorities,
    MemoryTracker,
    tiny_config,
    tiny_run,
)
from tests.support.training_batches import training_batch

ROOT = Path(__file__).resolve().parents[3]
LATEST, TARGET = weights_pb2.LATEST, weights_pb2.TARGET


class RecordingPublisher(WeightPublisher):
    """A real publisher that remembers what went out when."""

    def __init__(self):
        super().__init__()
        self.train_steps = {LATEST: [], TARGET: []}

    def publish_encoded(self, kind, payload, train_step):
        self.train_steps[kind].append(train_step)
        return super().publish_encoded(kind, payload, train_step)


def learner_config(*, budget=None, **learner):
    config = tiny_config()
    intervals = {"publish_interval": 2, "target_interval": 3, "checkpoint_interval": 4}
    # The batches made up here are all of train_step 0.
    fixed = {"log_interval": 1, "max_batch_staleness": 1_000, **intervals}
    return dataclasses.replace(
        config,
        learner=dataclasses.replace(config.learner, **{**fixed, **learner}),
        budget=dataclasses.replace(config.budget, **(budget or {})),
    )


class InstantSaver(CheckpointSaver):
    """Writes before it returns, so that what is on disk does not depend on speed."""

    def save(self, state, *, wait):
        del wait
        return super().save(state, wait=True)


class Bench:
    """A learner's parts and observer; collection has ended, so that only batches hold it up.

    A stop is asked for, as if by the supervisor, once all batches are trained on and more are due.
    """

    def __init__(self, directory, config, batches, *, train_steps=0):
        self.run, self.stop = tiny_run(directory, config), StopSignal()
        self.governor = Governor(config)
        self.governor.restore(env_steps=config.budget.env_steps, train_steps=train_steps)
        self.publisher = RecordingPublisher()
        self.largest, self.noted = [], []
        self.priorities = FakePriorities(config.learner.batch_size)
        self.tracker = MemoryTracker()
        self.failure = None
        self.learner = Learner(
            self.run,
            LearnerParts(
                device=torch.device("cpu"),
                batches=FakeBatchSource(batches, self.stop),
                priorities=self.priorities if config.replay.priority_exponent > 0 else None,
                publisher=self.publisher,
                governor=self.governor,
                saver=InstantSaver(self.run.directory / "checkpoints", keep=2, stop=self.stop),
                tracker=self.tracker,
                stop=self.stop,
            ),
            self,
        )
        self.batches = batches

    def trained_on(self, *noted):
        self.noted.append(noted)
        is_over = self.learner.train_step == self.run.config.budget.total_train_steps
        if len(self.noted) == len(self.batches) and not is_over:
            self.stop.set("no more batches")

    def got_priorities(self, largest):
        self.largest.append(largest)

    def logged(self, row):
        assert row == self.tracker.rows[-1]

    def extra_state(self):
        return {"more": 1}

    def check_health(self):
        if self.failure is not None and self.learner.train_step == 2:
            raise self.failure

    def checkpoints(self):
        """Return what was saved, oldest first: the untrained weights when training begins."""
        return [load_checkpoint(p) for p in list_checkpoints(self.run.directory / "checkpoints")]


def whole_run(tmp_path, *, train_steps=6, **learner):
    """Train a budget of ``train_steps`` steps to its end."""
    budget = {"train_steps": train_steps - 2, "last_train_steps": 2}
    config = learner_config(budget=budget, **learner)
    bench = Bench(tmp_path, config, [training_batch(config, i) for i in range(train_steps)])
    bench.learner.run()
    return bench


def copied_state(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def assert_same_state(got, wanted):
    assert got.keys() == wanted.keys()
    for name, tensor in got.items():
        assert torch.equal(tensor, wanted[name]), name


def test_every_batch_trained_on_is_reported_with_the_steps_made(tmp_path):
    bench = whole_run(tmp_path, train_steps=3)
    env_steps = bench.governor.env_steps
    assert [noted[1:] for noted in bench.noted] == [(step, env_steps) for step in (1, 2, 3)]
    assert len({id(noted[0]) for noted in bench.noted}) == 3


def test_every_train_step_changes_every_weight(tmp_path):
    config = learner_config()
    bench = Bench(tmp_path, config, [training_batch(config)])
    before = copied_state(bench.learner.network)
    bench.learner.run()
    assert bench.learner.train_step == bench.governor.train_steps == 1
    same = [
        name
        for name, parameter in bench.learner.network.named_parameters()
        if torch.equal(parameter, before[name])
    ]
    assert same == []


def test_priorities_are_the_value_errors_of_the_batchs_own_keys(tmp_path):
    config = learner_config()
    batches = [training_batch(config, seed) for seed in range(2)]
    bench = Bench(tmp_path, config, batches)
    untrained = copy.deepcopy(bench.learner.network)
    bench.learner.run()
    stacked = batches[0].frames[:, : config.env.num_stacked_frames]
    observations = stacked.reshape(len(stacked), *bench.run.env_spec.observation_shape)
    logits = untrained.initial_inference(torch.from_numpy(observations)).value_logits
    predicted = untrained.support.decode(logits).detach().numpy()
    keys, priorities = bench.priorities.updates[0]
    np.testing.assert_array_equal(keys, batches[0].keys)
    np.testing.assert_allclose(priorities, np.abs(predicted - batches[0].values[:, 0]), atol=1e-5)
    assert [k.tolist() for k, _ in bench.priorities.updates] == [b.keys.tolist() for b in batches]


def test_refreshed_priorities_go_out_with_the_batchs_own_and_ages_are_reported_and_kept(tmp_path):
    config = changed(learner_config(), replay={"priority_refresh_share": 0.25})
    first, second = (training_batch(config, seed) for seed in range(2))
    first = first._replace(env_steps=np.arange(8))
    second = second._replace(
        env_steps=np.arange(10, 18),
        refreshed_steps=np.array([3, 60]),
        refreshed_priorities=np.array([7.0, 8.0]),
    )
    bench = Bench(tmp_path, config, [first, second])
    bench.learner.run()
    keys, priorities = bench.priorities.updates[1]
    assert keys.tolist() == [int(first.keys[3]), *second.keys.tolist()]
    assert priorities[0] == 7.0
    # Set at train_step 0 by the first batch, the refreshed one as well; at 1 by the second.
    assert bench.tracker.rows[-1]["learner/priority_age_mean"] == (8 * 2 + 8 * 1) / 16
    assert bench.tracker.rows[-1]["learner/priorities_refreshed"] == 1
    again = Bench(tmp_path / "again", config, [second], train_steps=2)
    again.learner.training.restore(bench.checkpoints()[-1])
    again.learner.run()
    # Step 3 is known from before; its priority is of train_step 0, as the target weights are.
    assert again.priorities.updates[0][0].tolist() == keys.tolist()


def test_latest_and_target_weights_go_out_at_their_intervals_and_at_the_end(tmp_path):
    bench = whole_run(tmp_path)
    assert bench.publisher.train_steps == {LATEST: [0, 1, 2, 4, 6, 6], TARGET: [0, 3, 6, 6]}
    live = bench.learner.network.inference_state_dict()
    for kind in (LATEST, TARGET):
        snapshot = bench.publisher.newest(kind)
        assert_same_state(decode_weights(snapshot.payload, live), live)


def test_target_weights_are_a_copy_that_training_does_not_move(tmp_path):
    config = learner_config(target_interval=100)
    bench = Bench(tmp_path, config, [training_batch(config, seed) for seed in range(3)])
    untrained = copied_state(bench.learner.network)
    bench.learner.run()
    live = bench.learner.network.inference_state_dict()
    target = decode_weights(bench.publisher.newest(TARGET).payload, live)
    assert_same_state(target, {name: untrained[name] for name in live})


def test_run_ends_at_the_budget_with_a_checkpoint_of_the_last_train_step(tmp_path):
    bench = whole_run(tmp_path)
    assert bench.learner.train_step == bench.governor.train_steps == 6
    assert not bench.stop.is_set()
    assert [state["train_step"] for state in bench.checkpoints()] == [4, 6]
    newest = bench.checkpoints()[-1]
    assert_same_state(newest["network"], bench.learner.network.state_dict())
    assert newest["env_steps"] == bench.governor.env_steps
    assert newest["config_hash"] == bench.run.config_hash
    assert newest["optimizer"]["state"]
    # What runs of older versions have, and read.
    entries = "train_step env_steps network optimizer loader target_lag priorities target_weights"
    further = ("run_uid", "config_hash", "replay_snapshot", "more")
    assert newest.keys() == {*entries.split(), *further}


def test_stop_saves_and_does_not_announce_the_end(tmp_path):
    config = learner_config()
    bench = Bench(tmp_path, config, [training_batch(config, seed) for seed in range(3)])
    bench.learner.run()  # the bench asks for a stop after three batches
    _, state = bench.checkpoints()
    assert state["train_step"] == 3
    assert_same_state(state["network"], bench.learner.network.state_dict())
    assert bench.publisher.train_steps[LATEST] == [0, 1, 2]


def test_stop_during_warm_up_saves_untrained_weights_and_publishes_no_target(tmp_path):
    config = learner_config()
    bench = Bench(tmp_path, config, [])
    bench.stop.set("test")
    bench.learner.run()
    assert [state["train_step"] for state in bench.checkpoints()] == [0]
    assert bench.publisher.train_steps == {LATEST: [0], TARGET: []}


@pytest.mark.parametrize("field", ["values", "policies", "value_prefixes"])
def test_a_batch_with_targets_that_are_no_numbers_is_dropped_and_training_goes_on(tmp_path, field):
    config = learner_config(budget={"train_steps": 1, "last_train_steps": 1})
    first, bad, last = (training_batch(config, seed) for seed in range(3))
    getattr(bad, field)[3, 0] = np.nan
    bench = Bench(tmp_path, config, [first, bad, last])
    alone = Bench(tmp_path / "alone", config, [first, last])
    alone.learner.run()
    bench.learner.run()
    state, wanted = bench.checkpoints()[-1], alone.checkpoints()[-1]
    assert state["train_step"] == wanted["train_step"] == 2
    assert_same_state(state["network"], wanted["network"])
    assert len(bench.priorities.updates) == 2


def test_a_loss_that_overflows_ends_training_after_saving_the_weights_before(tmp_path):
    config = learner_config()
    bench = Bench(tmp_path, config, [training_batch(config, seed) for seed in range(3)])
    network, saved = bench.learner.network, {}

    def break_encoder(_module, _args, latents):
        if bench.learner.train_step == 2:
            saved.setdefault("state", copied_state(network))
            return latents * float("inf")
        return None

    hook = network.representation.register_forward_hook(break_encoder)
    with pytest.raises(TrainingDiverged, match=r"train_step 2: loss nan.*learner\.learning_rate"):
        bench.learner.run()
    hook.remove()
    state = bench.checkpoints()[-1]
    assert state["train_step"] == 2
    for name, _ in network.named_parameters():
        assert torch.equal(state["network"][name], saved["state"][name]), name
    assert all(torch.isfinite(tensor).all() for tensor in state["network"].values())
    assert len(bench.priorities.updates) == 2


@pytest.fixture
def late_results(monkeypatch):
    """Let results be there only when they are waited for, as on a GPU that is behind."""
    monkeypatch.setattr(Readback, "is_ready", lambda self: False)


def test_late_results_change_nothing_but_when_priorities_are_sent(tmp_path, monkeypatch):
    prompt = whole_run(tmp_path / "prompt", log_interval=4)
    monkeypatch.setattr(Readback, "is_ready", lambda self: False)
    late = Bench(tmp_path / "late", prompt.run.config, prompt.batches)
    seen = []
    count = late.governor.train_step_completed

    def record(train_steps):
        seen.append(len(late.priorities.updates))
        count(train_steps)

    late.governor.train_step_completed = record
    late.learner.run()
    assert seen == [0, 0, 1, 2, 4, 4]  # two behind, but for the row and checkpoint after step 4
    for got, wanted in zip(late.priorities.updates, prompt.priorities.updates, strict=True):
        np.testing.assert_array_equal(got, wanted)
    assert_same_state(late.learner.network.state_dict(), prompt.learner.network.state_dict())


@pytest.mark.parametrize("train_steps", [6, 5])
def test_the_last_train_step_is_saved_once(tmp_path, caplog, train_steps):
    with caplog.at_level(logging.INFO):
        whole_run(tmp_path, train_steps=train_steps, checkpoint_interval=3)
    saved = [r.getMessage() for r in caplog.records if r.getMessage().startswith("saved ")]
    assert [int(line[-11:-3]) for line in saved] == [0, 3, train_steps]


@pytest.mark.usefixtures("late_results")
def test_a_loss_that_overflows_is_found_late_and_the_weights_before_it_are_saved(tmp_path):
    config = learner_config(log_interval=100, checkpoint_interval=100)
    batches = [training_batch(config, seed) for seed in range(6)]
    before = Bench(tmp_path / "before", config, batches[:2])
    before.learner.run()
    bench = Bench(tmp_path, config, batches)

    def break_encoder(_module, _args, latents):
        return latents * float("inf") if bench.learner.train_step == 2 else None

    hook = bench.learner.network.representation.register_forward_hook(break_encoder)
    with pytest.raises(TrainingDiverged, match=r"train_step 2: loss nan"):
        bench.learner.run()
    hook.remove()
    assert len(bench.noted) > 2  # it was found after more had been asked for
    state = bench.checkpoints()[-1]
    assert state["train_step"] == 2
    assert_same_state(state["network"], before.checkpoints()[-1]["network"])
    assert len(bench.priorities.updates) == 2


def test_weights_that_overflow_end_training_and_the_saved_ones_are_numbers(tmp_path):
    config = learner_config()
    bench = Bench(tmp_path, config, [training_batch(config)])
    with torch.no_grad():
        for name, parameter in bench.learner.network.named_parameters():
            if name.startswith("representation"):
                parameter.fill_(3e38)
    with pytest.raises(TrainingDiverged):
        bench.learner.run()
    (state,) = bench.checkpoints()
    broken = [name for name, t in state["network"].items() if not torch.isfinite(t).all()]
    assert broken == []


def test_failure_elsewhere_in_the_process_ends_training_after_saving(tmp_path):
    config = learner_config()
    bench = Bench(tmp_path, config, [training_batch(config)] * 5)
    bench.failure = OSError("the results cannot be written")
    with pytest.raises(OSError, match="the results cannot be written"):
        bench.learner.run()
    assert [state["train_step"] for state in bench.checkpoints()] == [0, 2]


def test_learning_rate_follows_its_schedule(tmp_path):
    bench = whole_run(tmp_path, train_steps=6, lr_warmup_fraction=0.5, lr_decay_steps=2)
    config = bench.run.config
    expected = [learning_rate(step, config.learner, config.budget) for step in range(6)]
    assert [row["learner/lr"] for row in bench.tracker.rows] == expected
    assert len(set(expected)) > 2


def test_repeated_batch_is_learned(tmp_path):
    config = learner_config(learning_rate=0.01)
    bench = Bench(tmp_path, config, [training_batch(config)] * 20)
    bench.learner.run()
    losses = [row["learner/loss"] for row in bench.tracker.rows]
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])


def test_metric_rows_have_progress_losses_and_where_time_goes(tmp_path):
    bench = whole_run(tmp_path, log_interval=2)
    rows = bench.tracker.rows
    assert [row["learner/train_steps"] for row in rows] == [2, 4, 6]
    assert {row["learner/env_steps"] for row in rows} == {bench.governor.env_steps}
    sections = ("wait_pace", "wait_batch", "forward", "backward", "optimizer", "checkpoint")
    assert {f"learner/time/{section}_ms" for section in sections} <= rows[1].keys()
    assert rows[-1]["learner/masked_share"] > 0
    modules = ("representation", "dynamics", "value_prefix_head", "prediction", "projector")
    assert all(row[f"learner/update_ratio_{module}"] > 0 for row in rows for module in modules)
    assert rows[-1]["learner/grad_norm_max"] >= rows[-1]["learner/grad_norm"] > 0


def test_weights_are_measured_on_logging_steps_only(tmp_path, monkeypatch):
    measured = []
    step = Updater.step
    monkeypatch.setattr(
        Updater,
        "step",
        lambda self, inputs, train_step, *, measure: (
            measured.append(measure) or step(self, inputs, train_step, measure=measure)
        ),
    )
    whole_run(tmp_path, log_interval=3)
    assert measured == [False, False, True] * 2


@pytest.mark.parametrize(
    "switch",
    [
        {"learner": {"consistency_coefficient": 0.0}},
        {"network": {"categorical_values": False}},
        {"agent": {"value_prefix": False, "value_prefix_horizon": 1}},
        {"compat": {"gradient_scaling": "reference"}},
        {"learner": {"value_coefficient": 0.0}},
        {"learner": {"policy_coefficient": 0.0}},
        {"learner": {"augmentation": True}},
        {"learner": {"augmentation": True, "independent_augmentation": False}},
        {"learner": {"target_network": "local"}},
        {"network": {"value_transform": "identity"}},
        {"network": {"support_bins": 5}},
        {"network": {"categorical_values": False}, "learner": {"huber_delta": 0.1}},
    ],
)
def test_training_runs_with_every_switch_and_learns_something_else(tmp_path, switch):
    states = []
    for name, sections in (("as_it_is", {}), ("switched", switch)):
        config = changed(learner_config(), **sections)
        bench = Bench(tmp_path / name, config, [training_batch(config, i) for i in range(2)])
        bench.learner.run()
        assert bench.learner.train_step == 2
        states.append(copied_state(bench.learner.network))
    name = "representation.layers.0.weight"
    # About 0.01, where rounding makes 1e-7.
    assert (states[0][name] - states[1][name]).abs().max() > 1e-3


def test_the_largest_priority_of_each_batch_is_reported(tmp_path):
    bench = whole_run(tmp_path)
    assert bench.largest == [float(values.max()) for _, values in bench.priorities.updates]


def test_lagging_target_weights_are_those_of_the_interval_before(tmp_path):
    budget = {"train_steps": 4, "last_train_steps": 2}
    config = learner_config(budget=budget, target_interval=2)
    config = dataclasses.replace(
        config, compat=dataclasses.replace(config.compat, target_weights_lag=1)
    )
    batches = [training_batch(config, i) for i in range(6)]
    bench = Bench(tmp_path, config, batches)
    bench.learner.run()
    # The first are out before training; after step 4 those of 2 follow; the end publishes all.
    assert bench.publisher.train_steps[TARGET] == [0, 2, 4, 6]
    assert bench.publisher.train_steps[LATEST] == [0, 1, 2, 4, 6, 6]


def test_uniform_replay_gets_no_priorities_and_its_weights_are_one(tmp_path):
    config = learner_config()
    config = dataclasses.replace(
        config, replay=dataclasses.replace(config.replay, priority_exponent=0.0)
    )
    batch = training_batch(config)
    sizes = np.array([1, 3, 7, 49, 1_000, 99_999, 100_000, 123_457], np.int64)
    batch = batch._replace(table_sizes=sizes, probabilities=1.0 / sizes)
    bench = Bench(tmp_path, config, [batch])
    bench.learner.run()
    assert bench.learner.train_step == 1
    assert bench.priorities.updates == bench.largest == []
    assert (
        bench.learner.loader.load(bench.learner.loader.send(batch), 1).importance_weights.tolist()
        == [1.0] * 8
    )


@pytest.mark.parametrize(
    "learner",
    [
        {"optimizer": "sgd"},
        {"optimizer": "adamw"},
        {"optimizer": "lars"},
        {"consistency": "spr", "momentum_tau": 0.5},
        {"consistency": "nce"},
        {"target_network": "local", "target_interval": 2},
        {"reconstruction_coefficient": 1.0, "reconstruction_train_steps": 5},
    ],
    ids=lambda learner: "-".join(map(str, learner.values())),
)
def test_learner_restored_from_a_checkpoint_goes_on_bit_for_bit(tmp_path, learner):
    budget = {"train_steps": 4, "last_train_steps": 2}
    config = learner_config(budget=budget, **learner)
    batches = [training_batch(config, seed) for seed in range(6)]
    whole = Bench(tmp_path / "whole", config, batches)
    whole.learner.run()
    first = Bench(tmp_path / "first", config, batches[:3])
    first.learner.run()  # the bench asks for a stop after three batches
    state = first.checkpoints()[-1]
    second = Bench(tmp_path / "second", config, batches[3:], train_steps=3)
    second.learner.training.restore(state)
    second.learner.run()
    assert second.learner.train_step == 6
    assert_same_state(second.learner.network.state_dict(), whole.learner.network.state_dict())


def test_learner_restored_at_the_end_of_its_budget_publishes_and_waits_for_nothing(tmp_path):
    whole = whole_run(tmp_path / "whole")
    again = Bench(tmp_path / "again", whole.run.config, [], train_steps=6)
    again.learner.training.restore(whole.checkpoints()[-1])
    again.learner.run()
    assert again.publisher.train_steps == {LATEST: [6, 6], TARGET: [6, 6]}
    assert_same_state(again.learner.network.state_dict(), whole.learner.network.state_dict())


def test_without_consistency_the_same_network_starts_without_a_projector(tmp_path):
    config = learner_config()
    without = changed(config, learner={"consistency_coefficient": 0.0})
    full, small = (
        Bench(tmp_path / name, c, []).learner.network for name, c in (("a", config), ("b", without))
    )
    assert_same_state(small.state_dict(), full.inference_state_dict())
    assert any(name.startswith("projector") for name in full.state_dict())


def test_checkpoint_holds_the_generators_that_draw_the_augmentation(tmp_path):
    config = changed(learner_config(), learner={"augmentation": True})
    bench = Bench(tmp_path, config, [training_batch(config)])
    fresh = Bench(tmp_path / "fresh", config, []).learner.loader.state_dict()
    bench.learner.run()
    saved = bench.checkpoints()[-1]["loader"]
    for name, state in bench.learner.loader.state_dict()["root"].items():
        assert torch.equal(saved["root"][name], state)
        assert not torch.equal(fresh["root"][name], state)


@pytest.mark.slow
def test_train_step_needs_neither_reverb_nor_ale():
    code = """
import sys
for name in ("reverb", "ale_py", "gymnasium", "tensorflow"):
    sys.modules[name] = None
import learner.learner
from efficientzero.metrics.section_timer import SectionTimer
from learner.training import Updater, make_optimizer
from tests.support.cases.loss_cases import case, in_float32, make_batch, make_network
config = case()
network = make_network(config).float()
updater = Updater(network, make_optimizer(network, config), config, SectionTimer("learner"))
assert updater.finish(updater.step(in_float32(make_batch(config)), 0, measure=True)).grad_norm > 0
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=300)


def test_stale_batch_leaves_no_trace_but_its_count(tmp_path):
    budget = {"train_steps": 4, "last_train_steps": 0}
    config = learner_config(budget=budget, max_batch_staleness=2, log_interval=2)
    fresh = [
        b._replace(target_weights_versions=np.full(8, version, np.int64))
        for b, version in zip(
            [training_batch(config, i) for i in range(4)], [0, 0, 0, 1], strict=True
        )
    ]
    stale = [training_batch(config, seed) for seed in (10, 11)]  # of train_step 0, at 3: too old
    one_slice = fresh[3]._replace(target_weights_versions=np.array([1] * 7 + [0], np.int64))
    with_stale = Bench(tmp_path / "with", config, [*fresh[:3], *stale, one_slice, fresh[3]])
    without = Bench(tmp_path / "without", config, fresh)
    for bench in (with_stale, without):
        bench.learner.run()
        assert bench.governor.train_steps == bench.learner.train_step == 4
        assert [noted[1] for noted in bench.noted] == [1, 2, 3, 4]
    assert_same_state(with_stale.learner.network.state_dict(), without.learner.network.state_dict())
    for got, wanted in zip(with_stale.priorities.updates, without.priorities.updates, strict=True):
        np.testing.assert_array_equal(got, wanted)
    counts = [[r["learner/stale_batches"] for r in b.tracker.rows] for b in (with_stale, without)]
    assert counts == [[0, 3], [0, 0]]


def test_in_a_deterministic_run_a_step_counts_only_once_its_weights_are_published(tmp_path):
    config = learner_config(budget={"train_steps": 5, "last_train_steps": 0})
    config = changed(config, cluster={"deterministic": True})
    bench = Bench(tmp_path, config, [training_batch(config, seed) for seed in range(5)])
    published = []
    count = bench.governor.train_step_completed

    def record(train_steps):
        published.append([bench.publisher.newest(kind).train_step for kind in (LATEST, TARGET)])
        count(train_steps)

    bench.governor.train_step_completed = record
    bench.learner.run()
    assert published == [[1, 0], [2, 0], [2, 3], [4, 3], [4, 3]]
