"""What follows from replay's counts."""

import numpy as np
import pytest

from efficientzero.metrics.pulse import NO_VITALS
from learner.cluster.replay_follower import ReplayFollower
from learner.cluster.roster import Roster
from learner.cluster.starvation import ReplayEmpty, Starvation
from learner.cluster.watch import ClusterWatch
from learner.pacing.governor import Governor
from learner.records.fairness_record import FairnessRecord
from learner.records.run_record import RunRecord
from replay.info import ReplayCounts
from tests.support.fakes import tiny_config, tiny_run


class Scene:
    """The follower of a run, and the parts that it reports to."""

    def __init__(self, folder):
        config = tiny_config()
        run = tiny_run(folder, config)
        self.governor, self.record = Governor(config), RunRecord(folder)
        self.now = 0.0
        self.starvation = Starvation(self.governor, clock=lambda: self.now)
        self.fairness = FairnessRecord(folder, config)
        self.watch = ClusterWatch(
            Roster(count_start=lambda name: 0),
            self.governor,
            self.record,
            vitals=lambda: NO_VITALS,
            replay_address=run.replay_address,
            incarnation=0,
            has_evaluator=False,
        )
        self.follower = ReplayFollower(
            run,
            self.governor,
            starvation=self.starvation,
            record=self.record,
            fairness=self.fairness,
            watch=self.watch,
        )

    def look(self, steps):
        """Look at a replay that holds that many steps, None: away."""
        self.follower.look(
            None if steps is None else ReplayCounts(num_steps=steps, steps_inserted=steps)
        )


@pytest.fixture
def scene(tmp_path):
    return Scene(tmp_path)


def test_status_and_stamp_have_what_can_be_drawn_and_the_log_what_was_lost(scene, caplog):
    scene.look(42)
    assert scene.record.snapshot().steps_inserted == scene.record.snapshot().replay_items == 42
    scene.look(None)  # nobody answers: what was known stands
    assert scene.record.snapshot().steps_inserted == 42
    assert not caplog.records
    scene.look(35)
    scene.look(36)
    assert scene.record.snapshot().steps_inserted == 36
    np.testing.assert_array_equal(scene.fairness.state()["replay"], [36, 36, 0, 0])
    (record,) = caplog.records
    assert record.message == "replay started again from a snapshot without the last 7 steps"


def test_actors_may_play_on_while_replay_holds_no_step(scene, monkeypatch):
    asked = []
    monkeypatch.setattr(
        scene.governor, "collect_more_if_stuck", lambda: bool(asked.append("asked"))
    )
    scene.look(12)
    scene.look(None)
    assert asked == []
    scene.look(0)
    assert asked == ["asked"]
    scene.look(1)
    assert asked == ["asked"]


def test_empty_replay_after_the_last_env_step_ends_the_wait_with_its_reason(tmp_path):
    scene = Scene(tmp_path)
    budget = scene.governor.pace
    scene.governor.restore(env_steps=budget.env_steps - 1, train_steps=0)
    scene.look(0)
    scene.now = 1_000.0
    scene.look(0)
    scene.starvation.check()  # an env_step is still to come

    scene = Scene(tmp_path)
    scene.governor.restore(env_steps=budget.env_steps, train_steps=0)
    scene.look(0)
    scene.now = 59.0
    scene.governor.train_step_completed(1)
    scene.look(0)  # a batch was on its way: the time begins again
    scene.now = 118.0
    scene.starvation.check()
    scene.look(None)  # a replay that is away may come back with its steps: no answer tells
    scene.now = 120.0
    with pytest.raises(ReplayEmpty, match=r"replay is empty, all .* nothing is left to train on"):
        scene.starvation.check()
    scene.look(1)
    scene.starvation.check()
