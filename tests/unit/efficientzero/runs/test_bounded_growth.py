"""What a run of any length may keep in memory and on disk."""

import os

import pytest

from deploy.supervising.child import _LogFile
from efficientzero.config.fields import BudgetConfig, Config
from efficientzero.metrics.pulse import NO_VITALS
from efficientzero.runs.results.episode_lines import EPISODES_FILE, num_env_steps, num_episodes
from efficientzero.runs.run_folder import read_lines
from learner.cluster.roster import Roster, Seat
from learner.pacing.governor import Governor
from learner.pacing.recent_set import RecentSet
from learner.records import run_record
from learner.records.run_record import EpisodeResult, RunRecord

MEMBERS = 50_000


def test_a_recent_set_forgets_the_oldest():
    recent = RecentSet[int](3)
    for number in (1, 2, 3, 1, 4):
        recent.add(number)
    assert [number in recent for number in (1, 2, 3, 4)] == [True, False, True, True]
    assert len(recent) == 3


def test_members_that_come_and_go_for_ever_leave_little_behind():
    config = Config(budget=BudgetConfig(env_steps=1_000, train_steps=100, last_train_steps=0))
    governor = Governor(config)
    roster = Roster(
        count_start=lambda name: 0, on_gone=lambda seat: governor.forget(seat.index, seat.member)
    )
    for member in range(1, MEMBERS + 1):
        seat = roster.join(Seat("actor", -1, 0, member, "host", 1))
        roster.beat(seat, NO_VITALS)
        roster.leave(seat)
    assert len(roster._gone) == len(governor._actors.replaced) == 20_000
    assert not roster.members()
    assert MEMBERS in roster._gone  # who left just now is refused still


def test_a_log_is_rotated_and_loses_no_line(tmp_path):
    path = tmp_path / "actor-0.log"
    for start in range(2):  # a launch after the other goes on in the same file
        log = _LogFile(path, most_bytes=600)
        for number in range(40):
            log.write(f"{start} line {number}\n".encode())
        log.close()
    both = (tmp_path / "actor-0.log.1").read_text() + path.read_text()
    assert both.splitlines() == [f"{s} line {n}" for s in range(2) for n in range(40)]
    log = _LogFile(path, most_bytes=1_000)
    for _ in range(10_000):
        log.write(b"again and again\n")
    log.close()
    assert sorted(os.listdir(tmp_path)) == ["actor-0.log", "actor-0.log.1"]
    assert all(entry.stat().st_size <= 1_000 for entry in os.scandir(tmp_path))


def test_training_games_without_end_leave_a_file_of_bounded_length(tmp_path, monkeypatch):
    monkeypatch.setattr(run_record, "MOST_LINES", 400)
    record, longest = RunRecord(tmp_path), 0
    path = tmp_path / EPISODES_FILE
    for number in range(5_000):
        games = [EpisodeResult(float(2 * number), 3), EpisodeResult(2.0 * number + 1, 4)]
        record.add_episodes(number % 2, games, env_steps=7 * (number + 1))
        if number % 20 == 19:
            longest = max(longest, len(read_lines(path)))
    record.check()
    lines = read_lines(path)
    assert 200 < len(lines) <= longest <= 440
    assert sum(map(num_episodes, lines)) == 10_000
    assert sum(map(num_env_steps, lines)) == record.episode_env_steps == 35_000
    assert [line["return"] for line in lines[-100:]] == [float(n) for n in range(9_900, 10_000)]
    of_all = sum(line["return"] * num_episodes(line) for line in lines) / 10_000
    assert of_all == pytest.approx(9_999 / 2)
    counts = [line["env_steps"] for line in lines]
    assert counts == sorted(counts)

    again = RunRecord(tmp_path)
    again.restore(record.state(), env_steps=35_000, train_steps=0)
    assert again.snapshot().episodes == 10_000
    assert again.episode_env_steps == 35_000
    again.add_episodes(0, [EpisodeResult(1.0, 1)], env_steps=35_001)
    assert sum(map(num_episodes, read_lines(path))) == 10_001
