"""Which counters a learner that starts again goes on from."""

import dataclasses

import numpy as np
import pytest
import torch

from efficientzero.config import LeagueConfig
from efficientzero.config.fields import BudgetConfig, Config
from efficientzero.process.disk_space import DiskPause
from efficientzero.process.runtime import StopSignal
from efficientzero.rpc.stubs.weights_pb2 import TARGET
from efficientzero.runs.checkpoint import save_checkpoint
from efficientzero.runs.lineage import PARENT_CHECKPOINT, Lineage
from learner.pacing.governor import Governor
from learner.records.fairness_record import FairnessRecord
from learner.records.run_record import EpisodeResult, RunRecord
from learner.resume import CannotResume, resume
from learner.training import TrainState
from learner.weights import League, Members, PublishedTarget, WeightPublisher
from tests.support.fakes import tiny_run

CONFIG = Config(
    budget=BudgetConfig(env_steps=1000, train_steps=100, last_train_steps=0, warmup_env_steps=10)
)


class Parts:
    """What a learner process builds before it serves."""

    def __init__(self, directory, lineage=None):
        self.run = dataclasses.replace(tiny_run(directory, CONFIG), lineage=lineage)
        self.governor, self.publisher = Governor(CONFIG), WeightPublisher()
        self.network = torch.nn.Linear(2, 1)
        optimizer = torch.optim.SGD(self.network.parameters())
        copies = {"target_weights": PublishedTarget(self.publisher)}
        self.training = TrainState(self.network, optimizer, copies=copies)
        self.record = RunRecord(self.run.directory)
        self.fairness = FairnessRecord(self.run.directory, CONFIG)

    def save(self, train_step, env_steps, **changes):
        self.training.train_step = train_step
        state = {
            **self.training.state(),
            "env_steps": env_steps,
            "config_hash": self.run.config_hash,
            "record": self.record.state(),
            "fairness": self.fairness.state(),
            **changes,
        }
        save_checkpoint(self.run.directory / "checkpoints", train_step, state, keep=2)

    def resume(self, *, in_replay=0, noted=0, before=0, members=None):
        resume(
            self.run,
            training=self.training,
            governor=self.governor,
            record=self.record,
            fairness=self.fairness,
            members=members,
            steps_in_replay=in_replay,
            steps_noted=noted,
            steps_before=before,
        )


def test_new_run_starts_at_zero(tmp_path):
    parts = Parts(tmp_path)
    parts.resume()
    assert (parts.governor.env_steps, parts.governor.train_steps) == (0, 0)
    assert parts.training.train_step == 0


@pytest.mark.parametrize(
    ("in_replay", "noted", "env_steps"),
    [(480, 0, 500), (530, 0, 530), (530, 540, 540), (0, 0, 500), (5000, 0, 1000)],
)
def test_env_steps_are_the_most_that_anybody_knows_within_the_budget(
    tmp_path, in_replay, noted, env_steps
):
    before = Parts(tmp_path)
    before.save(40, 500)
    parts = Parts(tmp_path)
    parts.resume(in_replay=in_replay, noted=noted)
    assert (parts.governor.env_steps, parts.governor.train_steps) == (env_steps, 40)
    assert parts.training.train_step == 40
    assert torch.equal(parts.network.weight, before.network.weight)


def test_learner_that_died_before_its_first_checkpoint_knows_what_was_collected(tmp_path):
    parts = Parts(tmp_path)
    parts.resume(in_replay=7, noted=9)
    assert (parts.governor.env_steps, parts.governor.train_steps) == (9, 0)


def test_env_steps_that_a_resumed_run_plays_again_are_reported(tmp_path, caplog):
    caplog.set_level("INFO")
    parts = Parts(tmp_path)
    parts.save(40, 500)
    parts.resume(in_replay=510, before=530)
    assert parts.governor.env_steps == 510
    assert "20 env_steps that came after the checkpoint are undone" in caplog.text


def test_results_of_train_steps_that_were_undone_are_dropped(tmp_path):
    before = Parts(tmp_path)
    before.record.add_episodes(0, [EpisodeResult(1.0, 9)], env_steps=100)
    before.record.add_priorities(3.5)
    for version in (20, 60):
        before.record.add_evaluation(
            weights_version=version,
            is_final=False,
            episodes=[EpisodeResult(float(version), 9)],
            seconds=0.1,
            env_steps=100 + version,
            train_steps=version + 1,
        )
    before.save(20, 200)
    before.record.add_episodes(0, [EpisodeResult(2.0, 9)], env_steps=300)
    parts = Parts(tmp_path)
    parts.resume()
    record = parts.record.snapshot()
    assert (record.episodes, record.last_returns) == (1, (1.0,))
    assert (record.last_eval_version, record.last_eval_return_mean) == (20, 20.0)
    assert parts.record.max_priority == 3.5
    assert len((parts.run.directory / "evaluations.jsonl").read_text().splitlines()) == 1


def test_members_of_the_pool_are_those_of_the_checkpoint(tmp_path):
    def members_in(parts):
        league = League(
            LeagueConfig(pool_share=0.5, snapshot_interval=10), np.random.default_rng(0)
        )
        return Members(league, parts.publisher, parts.run.directory, DiskPause(StopSignal()))

    before = Parts(tmp_path)
    members = members_in(before)
    for train_step in (0, 10):
        members.admit(b"weights %d" % train_step, train_step)
    before.save(15, 200, league=members.league.state())
    members.admit(b"weights 20", 20)
    parts = Parts(tmp_path)
    members = members_in(parts)
    parts.resume(members=members)
    assert [member.train_step for member in members.league.members()] == [0, 10]
    files = sorted(path.name for path in (tmp_path / "league").iterdir())
    assert files == ["league.json", "member_0.safetensors", "member_10.safetensors"]
    assert parts.publisher.member(2).train_step == 10
    assert parts.publisher.member(3) is None


def test_target_weights_are_those_that_were_published_not_newer_ones(tmp_path):
    before = Parts(tmp_path)
    before.publisher.publish(TARGET, {"w": torch.arange(3.0)}, 30)
    before.save(40, 500)
    parts = Parts(tmp_path)
    parts.resume()
    got, wanted = parts.publisher.newest(TARGET), before.publisher.newest(TARGET)
    assert (got.payload, got.train_step) == (wanted.payload, 30)


def test_learners_of_one_run_never_number_two_publications_alike():
    versions = [
        WeightPublisher(incarnation=k).publish(TARGET, {"w": torch.zeros(1)}, 0) for k in range(3)
    ]
    assert len(set(versions)) == 3


def test_checkpoint_of_another_experiment_is_refused(tmp_path):
    parts = Parts(tmp_path)
    parts.save(40, 500, config_hash="0123456789ab")
    with pytest.raises(CannotResume, match="other hyperparameters") as refused:
        parts.resume()
    assert refused.value.is_permanent


def test_damaged_checkpoints_are_an_error_and_no_new_start(tmp_path):
    folder = tmp_path / "run" / "checkpoints"
    parts = Parts(tmp_path)
    folder = parts.run.directory / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "checkpoint_00000040.pt").write_bytes(b"junk")
    with pytest.raises(CannotResume, match="none of 1 checkpoints"):
        parts.resume()
    (folder / "checkpoint_00000050.pt").mkdir()  # cannot be read; start no new run for that
    with pytest.raises(CannotResume, match=r"00000050\.pt: cannot be read: Is a directory$"):
        parts.resume()


def test_counts_of_what_was_trained_on_go_on(tmp_path):
    before = Parts(tmp_path)
    counts = before.fairness.state()
    counts["weight_ages"][3] = 8
    before.fairness.restore(counts)
    before.save(40, 500)
    after = Parts(tmp_path)
    after.resume()
    assert after.fairness.state()["weight_ages"].nonzero().tolist() == [[3]]


def taken(*, env_steps=600, **values):
    return Lineage(
        parent="parent",
        parent_uid="89abcdef",
        parent_group="group",
        snapshot="snapshot",
        replay_digest="0123456789ab",
        env_steps=env_steps,
        is_frozen=False,
        **values,
    )


def test_run_with_anothers_replay_has_its_env_steps_and_no_train_steps(tmp_path):
    parts = Parts(tmp_path, taken())
    parts.resume(in_replay=600)
    assert (parts.governor.env_steps, parts.governor.train_steps) == (600, 0)
    assert parts.training.train_step == 0


def test_run_with_anothers_weights_goes_on_at_their_train_step(tmp_path):
    other = Parts(tmp_path / "other")
    other.publisher.publish(TARGET, {"weight": torch.ones(3)}, 40)
    other.save(50, 600, config_hash="of another config")
    saved = tmp_path / "other" / "checkpoints" / "checkpoint_00000050.pt"
    parts = Parts(tmp_path / "own", taken(train_step=50, weights_digest="ba9876543210"))
    parts.run.directory.mkdir()
    (parts.run.directory / PARENT_CHECKPOINT).write_bytes(saved.read_bytes())
    parts.resume(in_replay=600)
    assert (parts.governor.env_steps, parts.governor.train_steps) == (600, 50)
    assert parts.training.train_step == 50
    assert torch.equal(parts.network.weight, other.network.weight)
    assert parts.publisher.newest(TARGET).train_step == 40
    assert parts.publisher.newest(TARGET).payload == other.publisher.newest(TARGET).payload


def test_own_checkpoint_wins_over_anothers_weights(tmp_path):
    parts = Parts(tmp_path, taken(train_step=50, weights_digest="ba9876543210"))
    parts.save(70, 700)
    parts.resume(in_replay=700)
    assert parts.training.train_step == 70
    assert (parts.governor.env_steps, parts.governor.train_steps) == (700, 70)


def test_replay_without_the_steps_that_were_taken_is_permanent(tmp_path):
    with pytest.raises(CannotResume, match="got 599 env_steps, wanted at least the 600"):
        Parts(tmp_path, taken()).resume(in_replay=599)
