"""SectionTimer against times set by hand."""

import time

import pytest

from efficientzero.metrics import SectionTimer


class Clock:
    """Stands still until told."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timer(clock: Clock) -> SectionTimer:
    return SectionTimer("actor", clock=clock, cpu_clock=lambda: 5.0)


def spend(timer: SectionTimer, clock: Clock, name: str, seconds: float) -> None:
    with timer.section(name):
        clock.now_s += seconds


def test_mean_is_per_call_and_share_is_of_wall_time(timer: SectionTimer, clock: Clock) -> None:
    spend(timer, clock, "search", 1.0)
    spend(timer, clock, "search", 3.0)
    spend(timer, clock, "wait_grant", 2.0)
    clock.now_s += 4.0
    assert timer.row() == pytest.approx(
        {
            "actor/time/search_ms": 2000.0,
            "actor/time/search_share": 0.4,
            "actor/time/wait_grant_ms": 2000.0,
            "actor/time/wait_grant_share": 0.2,
            "actor/time/wait_share": 0.2,
            "actor/time/other_share": 0.4,
            "actor/cpu/search_share": 0.0,
            "actor/cpu/wait_grant_share": 0.0,
            "actor/cpu/other_share": 0.0,
        }
    )


def test_waiting_sections_are_summed(timer: SectionTimer, clock: Clock) -> None:
    spend(timer, clock, "wait_grant", 1.0)
    spend(timer, clock, "wait_replay", 2.0)
    spend(timer, clock, "waiter", 1.0)
    assert timer.row()["actor/time/wait_share"] == pytest.approx(0.75)


def test_a_row_starts_a_new_window(timer: SectionTimer, clock: Clock) -> None:
    spend(timer, clock, "search", 5.0)
    timer.row()
    spend(timer, clock, "env", 1.0)
    row = timer.row()
    assert row["actor/time/env_share"] == pytest.approx(1.0)
    assert row["actor/time/search_share"] == 0.0
    assert "actor/time/search_ms" not in row


def test_a_wait_longer_than_a_window_fills_it_and_is_averaged_whole(
    timer: SectionTimer, clock: Clock
) -> None:
    with timer.section("wait_batch"):
        clock.now_s += 10.0
        during = timer.row()
        clock.now_s += 2.0
    clock.now_s += 2.0
    after = timer.row()
    assert during["actor/time/wait_batch_share"] == pytest.approx(1.0)
    assert "actor/time/wait_batch_ms" not in during
    assert after["actor/time/wait_batch_share"] == pytest.approx(0.5)
    assert after["actor/time/wait_batch_ms"] == pytest.approx(12_000.0)


def test_shares_and_other_add_up_to_one(timer: SectionTimer, clock: Clock) -> None:
    spend(timer, clock, "a", 0.1)
    spend(timer, clock, "b", 0.7)
    clock.now_s += 0.3
    row = timer.row()
    shares = [row[f"actor/time/{name}_share"] for name in ("a", "b", "other")]
    assert sum(shares) == pytest.approx(1.0)


def test_a_section_that_raises_is_timed_and_closed(timer: SectionTimer, clock: Clock) -> None:
    with pytest.raises(RuntimeError), timer.section("search"):
        clock.now_s += 1.0
        raise RuntimeError
    spend(timer, clock, "search", 3.0)
    assert timer.row()["actor/time/search_ms"] == pytest.approx(2000.0)


def test_sections_do_not_nest(timer: SectionTimer) -> None:
    with timer.section("search"), pytest.raises(ValueError, match="'env' opened inside 'search'"):
        timer.section("env").__enter__()


@pytest.mark.parametrize("name", ["", "Search", "a/b", "other", "wait"])
def test_section_names_are_words_that_are_not_taken(timer: SectionTimer, name: str) -> None:
    with pytest.raises(ValueError, match="section"):
        timer.section(name)


def test_a_row_without_time_passed_is_finite(timer: SectionTimer) -> None:
    assert timer.row() == {
        "actor/time/wait_share": 0.0,
        "actor/time/other_share": 1.0,
        "actor/cpu/other_share": 0.0,
    }


def test_processor_time_is_reported_by_section_over_wall_time(clock: Clock) -> None:
    cpu = Clock()
    timer = SectionTimer("actor", clock=clock, cpu_clock=cpu)
    cpu.now_s += 0.5  # in no section
    with timer.section("search"):
        clock.now_s, cpu.now_s = clock.now_s + 2.0, cpu.now_s + 1.5
    with timer.section("wait_grant"):
        clock.now_s, cpu.now_s = clock.now_s + 2.0, cpu.now_s + 0.25
        row = timer.row()
        clock.now_s, cpu.now_s = clock.now_s + 1.0, cpu.now_s + 0.5
    after = timer.row()
    found = [row[f"actor/cpu/{name}_share"] for name in ("search", "wait_grant", "other")]
    assert found == pytest.approx([1.5 / 4, 0.25 / 4, 0.5 / 4])
    assert after["actor/cpu/wait_grant_share"] == pytest.approx(0.5)
    assert after["actor/cpu/search_share"] == after["actor/cpu/other_share"] == 0.0


def test_waiting_takes_no_processor_time_and_working_does() -> None:
    timer = SectionTimer("actor")
    with timer.section("wait_grant"):
        time.sleep(0.05)
    with timer.section("search"):
        until = time.thread_time() + 0.05
        while time.thread_time() < until:
            pass
    row = timer.row()
    assert row["actor/cpu/search_share"] > 3 * row["actor/cpu/wait_grant_share"]
    assert row["actor/cpu/search_share"] <= row["actor/time/search_share"] + 0.01
