"""What replay is told after each train_step, and the ages of priorities; numbers by hand."""

import dataclasses

import numpy as np
import torch

from efficientzero.config.fields import Config
from learner.records.priority_feedback import PriorityFeedback
from tests.support.fakes import FakePriorities, tiny_config
from tests.support.training_batches import training_batch


def config_with(*, capacity=50, share=0.5) -> Config:
    """Return 100 env_steps, batches of 8, and with half a share 4 refreshed steps a batch."""
    config = tiny_config()
    replay = dataclasses.replace(config.replay, capacity=capacity, priority_refresh_share=share)
    return dataclasses.replace(config, replay=replay)


def batch_of(config, env_steps, *, refreshed=(), made_at=0):
    """Return a batch of these steps, whose keys are 1000 + env_step, priorities 100 + it."""
    steps = np.array(env_steps, np.int64)
    padded = np.array([*refreshed, *[-1] * (4 - len(refreshed))], np.int64)
    batch = training_batch(config)._replace(
        env_steps=steps,
        keys=(steps + 1_000).astype(np.uint64),
        target_weights_versions=np.full(8, made_at, np.int64),
    )
    if len(batch.refreshed_steps):
        batch = batch._replace(refreshed_steps=padded, refreshed_priorities=padded + 100.0)
    return batch


def bench(config):
    sink = FakePriorities(8)
    return PriorityFeedback(config, sink), sink


def sent(sink):
    """Return the last update as it takes effect: of one key's priorities, the last."""
    keys, priorities = sink.updates[-1]
    return dict(zip(keys.tolist(), priorities.tolist(), strict=True))


def test_own_priorities_go_out_under_their_keys():
    config = config_with(share=0.0)
    feedback, sink = bench(config)
    feedback.update(batch_of(config, range(8)), np.arange(8.0), 0)
    assert sent(sink) == {1_000 + step: float(step) for step in range(8)}


def test_refreshed_step_gets_its_priority_under_the_key_it_was_trained_with():
    config = config_with()
    feedback, sink = bench(config)
    feedback.update(batch_of(config, range(8)), np.zeros(8), 0)
    batch = batch_of(config, range(10, 18), refreshed=[3, 5], made_at=2)
    feedback.update(batch, np.ones(8), 4)
    own = {1_000 + step: 1.0 for step in range(10, 18)}
    assert sent(sink) == {1_003: 103.0, 1_005: 105.0, **own}
    assert feedback.row(4)["learner/priorities_refreshed"] == 2


def test_unknown_steps_steps_with_newer_priorities_and_none_are_not_refreshed():
    config = config_with()
    feedback, sink = bench(config)
    feedback.update(batch_of(config, range(8)), np.zeros(8), 5)
    # 9 lies between known steps, 99 beyond; 3 was set at train_step 5, the weights are of 4.
    feedback.update(batch_of(config, [20] * 8, refreshed=[9, 99, 3, -1], made_at=4), np.ones(8), 6)
    assert sent(sink) == {1_020: 1.0}
    # As new as the weights: the refreshed one counts.
    feedback.update(batch_of(config, [21] * 8, refreshed=[3], made_at=5), np.ones(8), 7)
    assert sent(sink) == {1_021: 1.0, 1_003: 103.0}
    assert feedback.row(8)["learner/priorities_refreshed"] == 1


def test_step_both_trained_on_and_refreshed_keeps_what_training_found():
    config = config_with()
    feedback, sink = bench(config)
    feedback.update(batch_of(config, range(8)), np.zeros(8), 0)
    feedback.update(batch_of(config, range(8), refreshed=[4], made_at=3), np.full(8, 2.0), 3)
    assert sent(sink)[1_004] == 2.0


def test_ages_are_of_stored_steps_trained_on_and_count_from_the_weights_behind_the_priority():
    config = config_with(capacity=50)
    feedback, _ = bench(config)
    feedback.update(batch_of(config, range(8)), np.zeros(8), 10)
    feedback.update(batch_of(config, range(4, 12), refreshed=[0, 1], made_at=15), np.zeros(8), 20)
    # Steps 0, 1: set by weights of 15; 2, 3: of 10; 4 to 11: of 20.
    ages = [15, 15, 20, 20, *[10] * 8]
    row = feedback.row(30)
    assert row["learner/priority_age_mean"] == np.mean(ages)
    assert row["learner/priority_age_p95"] == np.percentile(ages, 95)
    # Step 53 is stored, so of 50 the oldest is 4.
    feedback.update(batch_of(config, [53] * 8), np.zeros(8), 30)
    ages = [*[12] * 8, 2]
    row = feedback.row(32)
    assert row["learner/priority_age_mean"] == np.mean(ages)


def test_priorities_of_steps_that_replay_dropped_are_counted_and_sent_all_the_same():
    config = config_with(capacity=50, share=0.0)
    feedback, sink = bench(config)
    feedback.update(batch_of(config, [59, 10, 9, 9, 8, 11, 58, 57]), np.zeros(8), 0)
    row = feedback.row(1)
    assert row["learner/priorities_evicted"] == 3  # 10 to 59 are stored
    assert len(sent(sink)) == 7
    assert feedback.row(1)["learner/priorities_evicted"] == 0


def test_dropped_updates_are_counted_since_the_last_row():
    config = config_with()
    feedback, sink = bench(config)
    sink.dropped_updates = 3
    assert feedback.row(1)["learner/priority_updates_dropped"] == 3
    sink.dropped_updates = 4
    assert feedback.row(1)["learner/priority_updates_dropped"] == 1
    assert "learner/priority_age_mean" not in feedback.row(1)


def test_restored_feedback_goes_on_with_keys_and_ages():
    config = config_with()
    feedback, _ = bench(config)
    large = batch_of(config, range(8))
    keys = np.arange(2**64 - 8, 2**64 - 1, dtype=np.uint64)
    large.keys[:7] = keys
    feedback.update(large, np.zeros(8), 5)
    again, sink = bench(config)
    again.load_state_dict(feedback.state_dict())
    assert again.row(9) == feedback.row(9)
    again.update(batch_of(config, [30] * 8, refreshed=[2], made_at=6), np.zeros(8), 7)
    assert sent(sink)[int(keys[2])] == 102.0


def test_checkpoint_of_an_earlier_version_is_restored():
    config = config_with()
    feedback, _ = bench(config)
    feedback.update(batch_of(config, range(8)), np.zeros(8), 5)
    again, _ = bench(config)
    again.load_state_dict({**feedback.state_dict(), "shards": torch.zeros(8)})
    assert again.row(9) == feedback.row(9)


def test_state_is_a_copy_that_later_updates_do_not_change():
    config = config_with()
    feedback, _ = bench(config)
    feedback.update(batch_of(config, range(8)), np.zeros(8), 5)
    state = feedback.state_dict()
    feedback.update(batch_of(config, range(8)), np.zeros(8), 6)
    assert state["set_at"][:8].tolist() == [5] * 8


def test_only_steps_that_replay_may_hold_are_remembered_each_under_its_own_number():
    config = config_with(capacity=10)
    feedback, sink = bench(config)
    feedback.update(batch_of(config, range(3, 11)), np.zeros(8), 0)
    # Room for 20 steps: 23 takes the place of 3.
    feedback.update(batch_of(config, [23] * 8), np.zeros(8), 1)
    feedback.update(batch_of(config, [24] * 8, refreshed=[3, 23, 43], made_at=1), np.ones(8), 2)
    assert sent(sink) == {1_023: 123.0, 1_024: 1.0}
    # A straggler of a step evicted long ago takes nobody's place.
    feedback.update(batch_of(config, [4] * 8, refreshed=[24, 4], made_at=2), np.ones(8), 3)
    assert sent(sink) == {1_024: 124.0, 1_004: 1.0}
    row = feedback.row(3)
    assert row["learner/priorities_evicted"] == 8
    assert row["learner/priority_age_mean"] == (2 + 1) / 2


def test_env_step_beyond_the_budget_as_float32_may_round_it_is_taken():
    config = config_with()
    feedback, _ = bench(config)
    feedback.update(batch_of(config, [config.budget.env_steps] * 8), np.zeros(8), 0)
    assert feedback.row(1)["learner/priority_age_mean"] == 1
