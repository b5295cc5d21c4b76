"""What a run has cost: sums of what its processes report, over their restarts and its own."""

import json

import pytest

from efficientzero.runs.lease import Fenced
from efficientzero.runs.results.cpu_seconds import RANK, WANDB, CpuSeconds, cpu_seconds_of
from learner.cluster.roster import MOST_PLACES


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_reports_of_processes_add_up_by_role(tmp_path):
    cost = CpuSeconds(tmp_path)
    for role, member, seconds in [
        ("actor", 1, 10.0),
        ("actor", 2, 5.0),
        ("actor", 1, 12.0),
        ("reanalyzer", 3, 100.0),
        ("actor", 4, 1.0),  # started again: another process
    ]:
        cost.note(role, member, seconds)
    cost.save()
    (tmp_path / "replay-0").mkdir()
    replay = CpuSeconds(tmp_path / "replay-0")
    replay.note("replay", 9, 30.0)
    replay.save()
    assert cpu_seconds_of(tmp_path) == {"reanalyzer": 100.0, "replay": 30.0, "actor": 18.0}
    assert list(cpu_seconds_of(tmp_path)) == ["reanalyzer", "replay", "actor"]


def test_what_a_process_reports_of_others_is_a_sum_beside_its_own(tmp_path):
    cost = CpuSeconds(tmp_path)
    for role, member, seconds in [
        ("actor", 1, 10.0),
        (WANDB, 1, 2.0),
        ("actor", 1, 12.0),
        (WANDB, 1, 3.0),
        ("reanalyzer", 2, 1.0),
        (WANDB, 2, 0.0),  # tracks nothing
    ]:
        cost.note(role, member, seconds)
    cost.note_ranks(40.0)
    cost.note_ranks(41.0)
    cost.save()
    CpuSeconds(tmp_path).save()
    sums = {RANK: 41.0, "actor": 12.0, WANDB: 3.0, "reanalyzer": 1.0}
    assert cpu_seconds_of(tmp_path) == sums


def test_a_learner_that_starts_again_counts_nothing_twice(tmp_path):
    before = CpuSeconds(tmp_path)
    before.note("actor", 1, 10.0)
    before.save()
    before.note("actor", 1, 15.0)  # lost with the learner
    again = CpuSeconds(tmp_path)
    again.note("actor", 1, 16.0)
    again.save()
    assert cpu_seconds_of(tmp_path) == {"actor": 16.0}


def test_nobody_spends_more_than_there_was_time_for(tmp_path):
    clock = Clock()
    cost = CpuSeconds(tmp_path, clock=clock)
    cost.note("actor", 1, 1e12)
    cost.note("actor", 1, 0.0)
    cost.save()
    assert cpu_seconds_of(tmp_path) == {"actor": 1_024 * 600.0}


def test_the_file_stays_small(tmp_path):
    cost = CpuSeconds(tmp_path)
    for member in range(12_000):
        cost.note("actor", member, 1.0)
        cost.note(WANDB, member, 0.5)
    cost.save()
    assert cpu_seconds_of(tmp_path) == {"actor": 12_000.0, WANDB: 6_000.0}
    assert len(json.loads((tmp_path / "cpu_seconds.json").read_text())["reported"]) == 20_000


def test_as_many_processes_as_a_run_has_places_count_once(tmp_path):
    cost = CpuSeconds(tmp_path)
    for seconds in (1.0, 2.0):
        for member in range(MOST_PLACES):
            cost.note("actor", member, seconds)
            cost.note(WANDB, member, seconds)
    cost.save()
    assert cpu_seconds_of(tmp_path) == {"actor": 2.0 * MOST_PLACES, WANDB: 2.0 * MOST_PLACES}


def test_it_is_saved_now_and_then_and_not_by_who_is_fenced(tmp_path):
    clock = Clock()
    cost = CpuSeconds(tmp_path, clock=clock)
    cost.note("learner", 1, 1.0)
    cost.save_when_due()
    cost.note("learner", 1, 2.0)
    cost.save_when_due()
    assert cpu_seconds_of(tmp_path) == {"learner": 1.0}
    clock.now += 10.0
    cost.save_when_due()
    assert cpu_seconds_of(tmp_path) == {"learner": 2.0}

    def refuse():
        raise Fenced("another learner is here")

    with pytest.raises(Fenced):
        CpuSeconds(tmp_path, check_lease=refuse).save()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"of_role": 1, "reported": {}}', '{"of_role'])
def test_a_damaged_file_begins_again(tmp_path, text):
    (tmp_path / "cpu_seconds.json").write_text(text)
    assert cpu_seconds_of(tmp_path) == {}
    CpuSeconds(tmp_path).save()
