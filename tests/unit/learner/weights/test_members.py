"""The pool's members: who joins, their files, and what a resume finds."""

import hashlib
import json

import numpy as np
import pytest
import torch

from efficientzero.config import LeagueConfig
from efficientzero.process.disk_space import DiskPause
from efficientzero.process.runtime import StopSignal
from efficientzero.rpc.stubs import weights_pb2
from learner.weights import League, Members, Publications, WeightPublisher, members_of
from learner.weights.league import EvaluationGames
from tests.support.fakes import tiny_config, tiny_run

LATEST, TARGET = weights_pb2.LATEST, weights_pb2.TARGET
LEAGUE = LeagueConfig(
    pool_share=0.5, snapshot_interval=100, capacity=4, baselines=("minimax", "random")
)


class Bench:
    """Members in a run folder, with a real publisher and its thread."""

    def __init__(self, folder, league=LEAGUE):
        self.folder, self.publisher = folder / "league", WeightPublisher()
        self.league = League(league, np.random.default_rng(0))
        self.members = Members(self.league, self.publisher, folder, DiskPause(StopSignal()))
        self.publications = Publications(self.publisher, members=self.members)

    def publish(self, *train_steps, kinds=(LATEST,)):
        for train_step in train_steps:
            self.publications.publish(kinds, {"w": torch.full((3,), train_step + 0.5)}, train_step)
        self.publications.wait()
        return self

    def train_steps(self):
        return [member.train_step for member in self.league.members()]

    def saved(self):
        return json.loads((self.folder / "league.json").read_text())

    def check_consistent(self):
        """Files, ``league.json``, the league and what is served are of the same members."""
        members = self.league.members()
        files = {path.name for path in self.folder.iterdir()} - {"league.json"}
        assert files == {f"member_{member.train_step}.safetensors" for member in members}
        assert [m["train_step"] for m in self.saved()["members"]] == self.train_steps()
        for member in members:
            content = (self.folder / f"{member.name}.safetensors").read_bytes()
            assert hashlib.sha256(content).hexdigest() == member.sha256
            snapshot = self.publisher.member(member.number)
            parts = [weights_pb2.WeightsMessage.FromString(m) for m in snapshot.messages]
            assert parts[0].header.train_step == member.train_step
            assert b"".join(part.chunk for part in parts[1:]) == content
            assert snapshot.num_bytes == len(content)


def test_acting_weights_of_every_interval_join_once_with_the_bytes_that_were_published(tmp_path):
    bench = Bench(tmp_path).publish(0, 50, 100, 100).publish(200, kinds=(TARGET,))
    assert bench.train_steps() == [0, 100]
    assert [member.number for member in bench.league.members()] == [1, 2]
    bench.check_consistent()
    newest = bench.publisher.newest(LATEST).payload
    assert (bench.folder / "member_100.safetensors").read_bytes() == newest
    bench.publish(200, kinds=(LATEST, TARGET))
    assert bench.train_steps() == [0, 100, 200]


def test_a_full_pool_keeps_the_first_and_the_newest_and_forgets_the_others(tmp_path):
    bench = Bench(tmp_path).publish(*range(0, 2100, 100))
    kept = bench.train_steps()
    assert (len(kept), kept[0], kept[-1]) == (4, 0, 2000)
    bench.check_consistent()
    gone = next(step for step in range(0, 2100, 100) if step not in kept)
    assert bench.publisher.member(bench.league.number_of(gone)) is None


def test_a_resume_drops_members_and_games_from_after_the_checkpoint(tmp_path):
    before = Bench(tmp_path).publish(0, 100)
    before.league.add_training_game("member_100", 1.0)
    before.league.add_evaluation_game(100, "random", 0.5)
    state = before.league.state()  # the checkpoint
    before.publish(200)
    before.league.add_training_game("member_100", 1.0)
    before.league.add_evaluation_game(200, 100, 1.0)
    before.members.save()

    after = Bench(tmp_path)
    after.members.restore(json.loads(json.dumps(state)), 150)
    assert after.train_steps() == [0, 100]
    assert after.league.state() == state
    after.check_consistent()
    after.publish(200)
    assert after.league.members()[-1].number == 3
    after.check_consistent()


def test_a_learner_killed_between_a_members_file_and_the_leagues_resumes(tmp_path, monkeypatch):
    before = Bench(tmp_path).publish(0)
    state = before.league.state()

    def killed():
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(before.members, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            before.members.admit(before.publisher.newest(LATEST).payload, 100)
    assert (before.folder / "member_100.safetensors").exists()
    assert [m["train_step"] for m in before.saved()["members"]] == [0]
    after = Bench(tmp_path)
    after.members.restore(state, 90)
    after.check_consistent()
    assert after.train_steps() == [0]


def test_a_resume_without_a_checkpoint_begins_without_members(tmp_path):
    Bench(tmp_path).publish(0, 100)
    after = Bench(tmp_path)
    after.members.restore(None, 0)
    assert after.train_steps() == []
    after.publish(0)
    after.check_consistent()


@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_a_member_whose_file_is_lost_is_none_any_more(tmp_path, caplog, damage):
    before = Bench(tmp_path).publish(0, 100, 200)
    path = before.folder / "member_100.safetensors"
    path.unlink() if damage == "gone" else path.write_bytes(b"x" + path.read_bytes()[1:])
    after = Bench(tmp_path)
    after.members.restore(before.league.state(), 200)
    assert after.train_steps() == [0, 200]
    after.check_consistent()
    assert "member_100: its file is" in caplog.text


def test_a_run_without_a_pool_has_no_members_and_no_folder(tmp_path):
    parts = (WeightPublisher(), DiskPause(StopSignal()), None)
    run = tiny_run(tmp_path, tiny_config())
    assert members_of(run, *parts, incarnation=0) is None
    publications = Publications(parts[0])
    publications.publish([LATEST], {"w": torch.zeros(3)}, 0)
    publications.wait()
    assert list(tmp_path.iterdir()) == []
    assert parts[0].newest(LATEST).train_step == 0


def test_a_write_that_fails_ends_the_publication(tmp_path):
    bench = Bench(tmp_path)
    (tmp_path / "league").write_text("no folder")
    with pytest.raises(OSError, match="league"):
        bench.publish(0)


def test_opponents_are_drawn_by_how_they_did(tmp_path):
    league = LeagueConfig(pool_share=0.5, snapshot_interval=100, uniform_share=0.0)
    bench = Bench(tmp_path, league).publish(0, 100)
    assert Bench(tmp_path).league.draw() == (None, "")
    for _ in range(18):
        bench.league.add_training_game("member_0", 1.0)
    bench.league.add_training_game("member_700", 1.0)  # it has gone
    table = bench.league.state()["games"]
    assert table.keys() == {"member_0"}
    won = table["member_0"][0]
    losing = 1.0 - (won + 1.0) / (won + 2.0)
    draws = [bench.league.draw().member.train_step for _ in range(20_000)]
    share = losing**2 / (losing**2 + 0.5**2)  # pfsp_hard; no game against the other one
    assert np.mean(np.array(draws) == 0) == pytest.approx(share, abs=0.005)


def test_baselines_have_their_share_of_draws(tmp_path):
    league = LeagueConfig(
        pool_share=0.5, snapshot_interval=100, baseline_share=0.3, baselines=("random", "minimax")
    )
    bench = Bench(tmp_path, league).publish(0)
    draws = [bench.league.draw() for _ in range(20_000)]
    for name in league.baselines:
        share = np.mean([drawn.baseline == name for drawn in draws])
        assert share == pytest.approx(0.15, abs=0.01)
    assert all((drawn.member is None) == (drawn.baseline != "") for drawn in draws)


def test_twenty_evaluation_games_by_hand():
    games = EvaluationGames(["minimax", "random"])
    for _ in range(20):
        games.add(100, "random", 1.0)
    rated = games.rating(100)
    assert (rated.points, rated.half_width) == pytest.approx((591.6, 1.96 * 193.0), rel=1e-3)
    assert rated.games == games.rating("random").games == 20
    assert games.rating("random").points == 0.0
    assert games.rating("minimax").games == games.rating(500).games == 0
    again = EvaluationGames(["minimax", "random"])
    again.restore(json.loads(json.dumps(games.state())))
    assert again.rating(100) == rated
    for opponent in (100, "nobody"):
        with pytest.raises(ValueError, match="wanted other weights or one of random, minimax"):
            games.add(100, opponent, 1.0)


def test_the_ladder_and_its_metrics(tmp_path):
    bench = Bench(tmp_path).publish(0, 100)
    league = bench.league
    assert league.row() == {"league/members": 2.0, "league/win_pool_mean": 0.5}
    for _ in range(4):
        league.add_evaluation_game(150, 0, 1.0)
        league.add_evaluation_game(150, "random", 1.0)
    league.add_training_game("minimax", 0.0)
    places = league.ladder()
    assert [place.name for place in places] == [
        *("minimax", "random", "member_0", "member_100", "weights_150")
    ]
    assert [place.member for place in places] == [0, 0, 1, 2, 0]
    assert [place.train_step for place in places] == [-1, -1, 0, 100, 150]
    assert [place.games for place in places] == [0, 4, 4, 0, 8]
    row = league.row()
    by_name = {place.name: place for place in places}
    assert row["league/rating_newest"] == by_name["weights_150"].rating > 0
    gain = by_name["weights_150"].rating - by_name["member_0"].rating
    assert row["league/rating_gain"] == pytest.approx(gain)
    assert row["league/win_minimax"] == pytest.approx(1 / 3)
    bench.members.save()
    assert [place["name"] for place in bench.saved()["ladder"]] == list(by_name)
