"""What new steps enter replay with."""

import pytest

from learner.records.run_record import RunRecord


def test_priority_is_one_before_training_then_the_largest_that_decays_slowly(tmp_path):
    record = RunRecord(tmp_path)
    assert record.max_priority == 1.0
    record.add_priorities(0.25)
    assert record.max_priority == 0.25
    record.add_priorities(8.0)
    record.add_priorities(2.0)
    assert record.max_priority == pytest.approx(7.92)
    for _ in range(1000):
        record.add_priorities(2.0)
    assert record.max_priority == 2.0


def test_priority_never_falls_to_zero(tmp_path):
    record = RunRecord(tmp_path)
    for _ in range(10):
        record.add_priorities(0.0)
    assert record.max_priority > 0.0
