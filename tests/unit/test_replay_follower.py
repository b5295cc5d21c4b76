"""What follows from the shards' counts, while shards come and go."""

import dataclasses

import numpy as np
import pytest

from efficientzero.metrics.pulse import NO_VITALS
from learner.cluster_watch import ClusterWatch
from learner.fairness_record import FairnessRecord
from learner.governor import Governor
from learner.replay_follower import ReplayFollower
from learner.roster import Roster
from learner.run_record import RunRecord
from replay.info import ReplayCounts
from tests.fakes import tiny_config, tiny_run


class Scene:
    """The follower of a run in two shards, and the parts that it tells."""

    def __init__(self, folder):
        config = tiny_config()
        run = dataclasses.replace(tiny_run(folder, config), more_replay_addresses=("b:2",))
        self.governor, self.record = Governor(config), RunRecord(folder)
        self.fairness = FairnessRecord(folder, config)
        self.watch = ClusterWatch(
            Roster(count_start=lambda name: 0),
            self.governor,
            self.record,
            vitals=lambda: NO_VITALS,
            replay_addresses=run.replay_addresses,
            incarnation=0,
            has_evaluator=False,
        )
        self.follower = ReplayFollower(
            run,
            self.governor,
            record=self.record,
            fairness=self.fairness,
            watch=self.watch,
        )

    def look(self, *steps):
        """Look at shards that hold that many steps, None: away."""
        self.follower.look(
            [
                None if num is None else ReplayCounts(num_steps=num, steps_inserted=num)
                for num in steps
            ]
        )


@pytest.fixture
def scene(tmp_path):
    return Scene(tmp_path)


def test_status_and_stamp_have_what_can_be_drawn_and_the_log_what_was_lost(scene, caplog):
    scene.look(30, 12)
    assert scene.record.snapshot().steps_inserted == scene.record.snapshot().replay_items == 42
    scene.look(31, None)
    assert scene.record.snapshot().steps_inserted == 31
    scene.look(None, None)  # nobody answers: what was known stands
    assert scene.record.snapshot().steps_inserted == 31
    assert not caplog.records
    scene.look(31, 5)
    assert scene.record.snapshot().steps_inserted == 36
    np.testing.assert_array_equal(scene.fairness.state()["replay"], [36, 36, 0, 0])
    (record,) = caplog.records
    assert "replay shard 1 started again from a snapshot without the last 7 steps" in record.message


def test_actors_may_play_on_while_no_shard_that_is_there_holds_a_step(scene, monkeypatch):
    asked = []
    monkeypatch.setattr(
        scene.governor, "collect_more_if_stuck", lambda: bool(asked.append("asked"))
    )
    scene.look(0, 12)
    assert asked == []
    scene.look(0, None)  # all steps are lost with the other
    assert asked == ["asked"]
    scene.look(1, None)
    assert asked == ["asked"]
