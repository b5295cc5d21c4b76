"""The benchmark of the learner's loop runs and says what it demands; times are not looked at."""

from benchmarks.pipeline.learner import step_rows, wait_rows
from tests.support.fakes import tiny_config


def test_step_and_wait_rows_have_values_and_the_demanded_limits():
    config = tiny_config()
    step, cost = step_rows("tiny", config, rounds=2)
    wait, assembly = wait_rows("tiny", config, num_steps=2)
    assert (step.name, step.must, step.at_least) == ("learner step / bare, tiny", 1.05, False)
    assert (wait.name, wait.must, wait.at_least) == ("learner's wait / step, tiny", 2.0, False)
    assert all(row.value > 0 for row in (step, cost, wait, assembly))
    assert [row.unit for row in (step, cost, wait, assembly)] == ["x", "ms", "%", "ms"]
    assert "ready when wanted" in assembly.note
