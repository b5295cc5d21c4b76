"""What a loop's last seconds were like, from its timer and its counts."""

import time

import pytest

from efficientzero.envs.hang_watch import Call, hang_in_words
from efficientzero.metrics.pulse import Pulse
from efficientzero.metrics.section_timer import SectionTimer


class Clock:
    now = 50.0

    def __call__(self):
        return self.now


@pytest.fixture
def loop():
    clock = Clock()
    timer = SectionTimer("actor", clock=clock)
    return clock, timer, Pulse(timer, "env_steps/s", clock=clock)


def spend(clock, timer, section, seconds):
    with timer.section(section):
        clock.now += seconds


def test_rate_and_longest_wait_of_the_window(loop):
    clock, timer, pulse = loop
    spend(clock, timer, "search", 1.0)
    spend(clock, timer, "wait_pace", 2.0)
    spend(clock, timer, "wait_replay", 1.0)
    pulse.work, pulse.weights_train_step = 8, 30
    vitals = pulse.vitals()
    assert vitals.rate == pytest.approx(2.0)
    assert vitals.busy == pytest.approx(0.25)
    assert (vitals.waiting_for, vitals.weights_train_step) == ("pace", 30)


def test_wait_that_has_not_ended_counts(loop):
    clock, timer, pulse = loop
    with timer.section("wait_weights"):
        clock.now += 3.0
        vitals = pulse.vitals()
        assert (vitals.waiting_for, vitals.busy) == ("weights", pytest.approx(0.0))
        timer.row()  # metric rows must not take anything from it
        clock.now += 3.0
        assert pulse.vitals().busy == pytest.approx(0.0)


def test_loop_that_waits_for_less_than_a_tenth_is_busy(loop):
    clock, timer, pulse = loop
    spend(clock, timer, "search", 9.5)
    spend(clock, timer, "wait_pace", 0.5)
    assert pulse.vitals().waiting_for == ""


def test_window_forgets_what_is_older_than_ten_seconds(loop):
    clock, timer, pulse = loop
    for _ in range(20):
        spend(clock, timer, "wait_pace", 2.0)
        pulse.vitals()
    for _ in range(6):
        spend(clock, timer, "search", 2.0)
        pulse.work += 10
        vitals = pulse.vitals()
    assert vitals.busy == pytest.approx(1.0)
    assert vitals.rate == pytest.approx(5.0)


def test_call_that_does_not_return_is_what_the_loop_waits_for(monkeypatch):
    monkeypatch.setattr("efficientzero.envs.hang_watch.time.monotonic", lambda: 5_000.0)
    pulse = Pulse(SectionTimer("actor"), "env_steps/s")
    assert pulse.vitals().waiting_for == ""
    call = Call("environment 3's step", time.monotonic())
    pulse.stuck_in = lambda: hang_in_words(lambda: call)
    assert pulse.vitals().waiting_for == ""  # slow, as environments may be
    call = Call("environment 3's step", time.monotonic() - 40.0)
    stuck = pulse.vitals()
    assert stuck.waiting_for == "an environment that has not returned for 40 s"
    assert stuck.busy == 0.0
