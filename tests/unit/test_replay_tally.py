"""What several shards count together when some are away; numbers by hand."""

from learner.replay_tally import Loss, ReplayTally
from replay.info import ReplayCounts


def counts(steps, *, inserted=None, sampled=0, queued=0):
    return ReplayCounts(
        num_steps=steps,
        num_episodes=1,
        steps_inserted=steps if inserted is None else inserted,
        steps_sampled=sampled,
        num_queued_batches=queued,
        batches_inserted=queued,
    )


def test_counts_are_sums_over_shards():
    tally = ReplayTally(2)
    assert tally.update([counts(10, inserted=25, sampled=7, queued=2), counts(5)]) == []
    total = tally.counts
    assert (total.num_steps, total.steps_inserted, total.steps_sampled) == (15, 30, 7)
    assert (total.num_queued_batches, total.num_tables) == (2, 4)


def test_one_service_counts_as_it_tells():
    tally, told = ReplayTally(1), counts(10, inserted=25, sampled=7, queued=2)
    tally.update([told])
    assert tally.counts == told


def test_what_lies_in_a_shard_that_is_away_is_not_counted_until_it_is_back():
    tally = ReplayTally(2)
    tally.update([counts(10), counts(6, inserted=9, sampled=3)])
    assert tally.update([counts(12), None]) == []
    assert tally.counts == counts(12)
    assert tally.update([counts(12), counts(6, inserted=9)]) == []
    assert tally.counts.steps_inserted == 21


def test_what_a_shard_lost_is_told_once_when_it_is_back():
    tally = ReplayTally(2)
    tally.update([counts(10), counts(9)])
    tally.update([counts(10), None])
    assert tally.update([counts(11), counts(4)]) == [Loss(shard=1, num_steps=5)]
    assert tally.update([counts(11), counts(4)]) == []
    assert tally.counts.steps_inserted == 15
    assert tally.update([counts(0), counts(4)]) == [Loss(shard=0, num_steps=11)]
