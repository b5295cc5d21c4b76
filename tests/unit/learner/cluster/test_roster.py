"""Places in a run: unique among the living, never two processes with one seed."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import pytest

from efficientzero.metrics.pulse import NO_VITALS
from efficientzero.runs.start_counts import count_start
from learner.cluster.roster import (
    FIRST_JOINED_INCARNATION,
    LOST_S,
    NoPlace,
    PlaceLost,
    Roster,
    Seat,
)


class Clock:
    now = 1_000.0

    def __call__(self):
        return self.now


class Run:
    """A roster with a clock of its own and its counts in a folder."""

    def __init__(self, folder, *, awaits_return=False):
        self.clock, self.gone = Clock(), []
        self.roster = Roster(
            count_start=lambda name: count_start(folder, name),
            on_gone=self.gone.append,
            awaits_return=awaits_return,
            clock=self.clock,
        )
        self.members = 0

    def join(self, role="actor"):
        self.members += 1
        return self.roster.join(Seat(role, 0, 0, self.members, "host", 1))

    def pass_time(self, seconds, *beating):
        """Let time go by in steps in which the learner looks and some send heartbeats."""
        for _ in range(int(seconds)):
            self.clock.now += 1.0
            for seat in beating:
                self.roster.beat(seat, NO_VITALS)
            self.roster.expire()

    def names(self):
        return [member.seat.name for member, _ in self.roster.members()]


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


def test_all_who_come_at_the_same_time_get_places_of_their_own(run):
    # Each notes its start in a file of the place: two of them there at once would lose one.
    with ThreadPoolExecutor(8) as pool:
        seats = list(pool.map(lambda member: run.roster.join(newcomer(member)), range(1, 65)))
    assert sorted(seat.index for seat in seats) == list(range(64))
    assert {seat.incarnation for seat in seats} == {FIRST_JOINED_INCARNATION}


def newcomer(member):
    return Seat("actor", 0, 0, member, "host", 1)


def launched(role, index, incarnation, member):
    return Seat(role, index, incarnation, member, "host", 1)


def test_newcomers_get_the_smallest_free_index_of_their_role(run):
    assert [run.join().index for _ in range(3)] == [0, 1, 2]
    assert run.join("reanalyzer").index == 0
    second = next(m.seat for m, _ in run.roster.members() if m.seat.name == "actor-1")
    run.roster.leave(second)
    assert run.join().index == 1
    assert run.gone == [second]


def test_each_process_of_an_index_has_an_incarnation_of_its_own_also_after_the_learner(tmp_path):
    run = Run(tmp_path)
    first = run.join()
    run.roster.leave(first)
    second = run.join()
    after = Run(tmp_path).join()  # a learner that started again
    numbers = [seat.incarnation - FIRST_JOINED_INCARNATION for seat in (first, second, after)]
    assert [first.index, second.index, after.index] == [0, 0, 0]
    assert numbers == [0, 1, 2]


def test_asking_twice_gives_one_place(run):
    wish = Seat("actor", 0, 0, 77, "host", 1)
    assert run.roster.join(wish) == run.roster.join(wish)
    assert run.names() == ["actor-0"]


def test_silent_process_loses_its_place_and_cannot_come_back(run):
    silent, living = run.join(), run.join()
    run.pass_time(LOST_S + 2, living)
    assert run.names() == ["actor-1"]
    assert run.gone == [silent]
    assert run.join().index == 0
    with pytest.raises(PlaceLost, match="silent for 30 s"):
        run.roster.beat(silent, NO_VITALS)
    assert run.names() == ["actor-0", "actor-1"]


def test_learner_that_was_held_up_itself_counts_nobody_as_lost(run):
    seat = run.join()
    run.pass_time(2, seat)
    run.clock.now += 10 * LOST_S  # stopped, and then going on
    run.roster.expire()
    assert run.names() == ["actor-0"]
    run.pass_time(LOST_S + 2)
    assert run.names() == []


def test_second_evaluator_has_to_wait_until_the_first_is_gone(run):
    first = run.join("evaluator")
    with pytest.raises(NoPlace, match="one evaluator"):
        run.join("evaluator")
    run.roster.leave(first)
    assert run.join("evaluator").index == 0


def test_members_of_a_learner_before_come_back_before_anybody_joins(tmp_path):
    seat = Run(tmp_path).join()
    run = Run(tmp_path, awaits_return=True)
    with pytest.raises(NoPlace, match="started again"):
        run.join()
    run.roster.beat(seat, NO_VITALS)
    run.pass_time(11, seat)
    assert run.join().index == 1
    assert run.names() == ["actor-0", "actor-1"]


def test_launchers_process_takes_its_index_from_one_that_joined(run):
    joined = run.join()
    run.roster.beat(launched("actor", 0, 0, 500), NO_VITALS)
    assert run.gone == [joined]
    with pytest.raises(PlaceLost):
        run.roster.beat(joined, NO_VITALS)
    assert run.join().index == 1


def test_index_of_a_launchers_process_is_kept_for_its_successor(run):
    first = launched("actor", 0, 0, 500)
    run.roster.beat(first, NO_VITALS)
    run.roster.leave(first)
    assert run.join().index == 1
    run.roster.beat(launched("actor", 0, 1, 501), NO_VITALS)
    assert run.names() == ["actor-0", "actor-1"]


def test_successor_replaces_and_predecessor_is_refused(run):
    first, second = launched("actor", 0, 0, 500), launched("actor", 0, 1, 501)
    run.roster.beat(first, NO_VITALS)
    run.roster.beat(second, NO_VITALS)
    assert run.gone == [first]
    with pytest.raises(PlaceLost):
        run.roster.beat(first, NO_VITALS)


def test_process_of_before_cannot_take_the_place_of_its_living_successor(run):
    before = run.join()
    run.roster.leave(before)
    after = run.join()
    assert (after.index, after.incarnation) == (before.index, before.incarnation + 1)
    with pytest.raises(PlaceLost, match="has this place"):
        run.roster.beat(dataclasses.replace(before, member=900), NO_VITALS)
    assert run.names() == ["actor-0"]
