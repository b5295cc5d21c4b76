"""Which shards count as there, and how draws and priorities spread over them."""

import numpy as np
import pytest

from efficientzero.config import Config
from efficientzero.runtime import StopSignal
from efficientzero.schema import Ending
from replay import priority_router, sharded_sampler, sharded_writer
from replay.info import ReplayCounts
from replay.priority_router import PriorityRouter
from replay.quarantine import Quarantine
from replay.shard_board import NOTHING, ShardBoard, ShardMass, shares_of
from replay.sharded_sampler import ShardedSampler
from replay.sharded_writer import ShardedWriter
from replay.slice_sampler import Sample
from replay.tables import TRAJECTORIES
from tests.replay_cases import VECTORS, random_episode

CONFIG = Config()


class Scene:
    """A board whose clock is in the test's hand, over shards that answer when told to."""

    def __init__(self, num=3):
        self.now, self.stop = 100.0, StopSignal()
        self.board = ShardBoard(
            [f"host:{number}" for number in range(num)], self.stop, clock=lambda: self.now
        )

    def answer(self, number, *, steps=10, mass=1.0):
        masses = {TRAJECTORIES: ShardMass(mass, steps)}
        self.board.answered(number, ReplayCounts(num_steps=steps), masses)

    def lose(self, number):
        for _ in range(2):
            self.board.missed(number, is_listening=False)


@pytest.fixture
def scene():
    return Scene()


def said(caplog):
    return [record.getMessage() for record in caplog.records]


def test_a_shard_is_there_from_its_first_answer_until_nobody_listens_twice_in_a_row(scene):
    assert scene.board.link(1) is None
    scene.answer(1)
    link = scene.board.link(1)
    assert link is not None
    scene.board.missed(1, is_listening=False)
    scene.answer(1)  # it started again between two looks
    scene.board.missed(1, is_listening=False)
    assert scene.board.link(1) is link
    assert not link.is_set()
    scene.board.missed(1, is_listening=False)
    assert scene.board.link(1) is None
    assert link.is_set()
    scene.answer(1)
    assert scene.board.link(1) not in (None, link)


def test_a_shard_that_takes_connections_and_says_nothing_is_away_after_half_a_minute(scene):
    scene.answer(0)
    link = scene.board.link(0)
    scene.now += 30.0
    scene.board.missed(0, is_listening=True)
    assert scene.board.link(0) is link
    scene.now += 0.1  # whoever asks it may itself be held up: nobody tells the board
    assert scene.board.counts() == [None, None, None]
    assert link.is_set()


def test_loss_and_return_are_said_once(scene, caplog):
    caplog.set_level("INFO")
    scene.answer(1, steps=1_234)
    for _ in range(5):
        scene.board.missed(1, is_listening=False)
    scene.now += 12.0
    scene.answer(1)
    scene.answer(1)
    assert said(caplog) == [
        "replay shard 1 at host:1 is away with the 1234 steps it holds; the other shards go on "
        "without it",
        "replay shard 1 is back after 12 s",
    ]


def test_loss_of_the_first_shard_is_said_to_stop_training(scene, caplog):
    scene.answer(0)
    scene.lose(0)
    assert said(caplog)[0].endswith("no training batch can pass until it is back")


def test_a_shard_that_has_not_come_yet_is_said_after_ten_seconds(scene, caplog):
    scene.lose(2)
    assert said(caplog) == []
    scene.now += 10.1
    scene.lose(2)
    assert said(caplog) == [
        "replay shard 2 at host:2 is not there yet; the other shards go on without it"
    ]


def test_every_link_ends_with_the_process(scene):
    scene.answer(0)
    link = scene.board.link(0)
    scene.stop.set("end")
    assert link.is_set()


def test_shares_are_those_of_the_mass_and_none_where_nothing_is():
    masses = [ShardMass(6.0, 3), NOTHING, ShardMass(2.0, 100)]
    assert shares_of(masses).tolist() == [0.75, 0.0, 0.25]
    assert shares_of([NOTHING, NOTHING]) is None


class FakeStream:
    """A shard's endless samples, each with probability 1 / 2 in its shard."""

    def __init__(self, address, stop, *, table, max_in_flight, num_ahead):
        self.shard = int(address.partition(":")[2])
        self.stop, self.is_dry = stop, False
        self.quarantine = Quarantine("item", address, table, stop)

    def get(self, *, timeout_s):
        if self.is_dry or self.stop.is_set():
            return None
        return Sample(self.shard, 0.5, 7, 1.0, [], np.zeros(0))


class KeepsSamples:
    """Stands for the decoder: a batch is the list of its samples."""

    def __init__(self, env_spec, config):
        pass

    def decode(self, samples):
        return samples, {}


@pytest.fixture
def sampler(scene, monkeypatch):
    monkeypatch.setattr(sharded_sampler, "SampleStream", FakeStream)
    monkeypatch.setattr(sharded_sampler, "SliceDecoder", KeepsSamples)
    return ShardedSampler(
        scene.board,
        VECTORS,
        CONFIG,
        scene.stop,
        generator=np.random.default_rng(0),
        table=TRAJECTORIES,
        num_slices_ahead=64,
    )


def test_probability_is_that_of_the_union_and_the_size_is_the_sum(scene, sampler):
    scene.answer(0, steps=30, mass=6.0)
    scene.answer(2, steps=12, mass=2.0)
    samples = sampler.sample(4_000, timeout_s=1.0)
    shards = np.array([sample.shard for sample in samples])
    assert set(shards.tolist()) == {0, 2}
    # 4,000 draws with share 3/4: the deviation is 27.
    assert abs((shards == 0).sum() - 3_000) < 6 * 27
    assert {(s.shard, s.probability) for s in samples} == {(0, 0.375), (2, 0.125)}
    assert {s.table_size for s in samples} == {42}


def test_slices_due_from_a_shard_that_goes_away_come_from_the_others(scene, sampler):
    scene.answer(0, mass=1.0)
    scene.answer(1, mass=1e9)
    sampler.sample(1, timeout_s=1.0)
    sampler._streams[1][1].is_dry = True
    assert sampler.sample(8, timeout_s=0.0) is None  # it is there, and slow: waited for
    scene.lose(1)
    samples = sampler.sample(8, timeout_s=1.0)
    assert [sample.shard for sample in samples] == [0] * 8


def test_nothing_is_drawn_while_no_shard_holds_a_step(scene, sampler):
    scene.board.answered(0, ReplayCounts(), {TRAJECTORIES: NOTHING})
    assert sampler.sample(1, timeout_s=0.0) is None


class FakeWriter:
    """An ``EpisodeWriter`` that keeps who wrote what."""

    def __init__(self, address, env_spec, config, stop):
        self.address, self.stop = address, stop
        self.lost_items, self.bytes_sent, self.episodes, self.is_closed = 0, 0, 0, False

    def append(self, step):
        self.bytes_sent += 1
        self.lost_items += self.stop.is_set()

    def end(self, last_frame, ending):
        self.episodes += 1

    def close(self):
        self.is_closed = True


@pytest.fixture
def written(scene, monkeypatch):
    """Return a writer's playing of an episode, which returns where it went."""
    monkeypatch.setattr(sharded_writer, "EpisodeWriter", FakeWriter)
    episode = random_episode(
        VECTORS, np.random.default_rng(0), number=0, length=2, ending=Ending.TERMINATED
    )
    writer = ShardedWriter(scene.board, VECTORS, CONFIG, scene.stop, first=4)

    def play():
        writer.append(episode.step(0))
        playing = writer._playing
        writer.append(episode.step(1))
        writer.end(episode.frames[-1], episode.ending)
        return int(playing.address.partition(":")[2])

    play.writer = writer
    return play


def test_episodes_take_turns_and_pass_over_shards_that_are_away(scene, written):
    for number in range(3):
        scene.answer(number)
    assert [written() for _ in range(4)] == [1, 2, 0, 1]
    scene.lose(2)
    assert [written() for _ in range(4)] == [0, 0, 1, 0]
    scene.answer(2)
    assert [written() for _ in range(3)] == [0, 1, 2]
    assert written.writer.bytes_sent == 2 * 11
    assert written.writer.lost_items == 0


def test_stream_into_a_shard_that_came_back_is_a_new_one(scene, written):
    scene.answer(1)
    written()
    old = written.writer._open[1].writer
    scene.lose(1)
    scene.answer(1)
    assert written() == 1
    assert old.is_closed
    assert written.writer._open[1].writer is not old


def test_where_no_shard_is_there_the_episode_waits_at_its_own(scene, written):
    assert [written() for _ in range(3)] == [1, 2, 0]
    assert not written.writer._open[0].writer.stop.is_set()


class FakeUpdater:
    """A ``PriorityUpdater`` that keeps what it gets."""

    def __init__(self, address, stop):
        self.address, self.sent, self.dropped_updates = address, [], 0

    def update(self, keys, priorities):
        self.sent.append((keys.tolist(), priorities.tolist()))


def test_priorities_go_to_their_shards_in_order_and_those_of_a_lost_one_are_counted(
    scene, monkeypatch
):
    monkeypatch.setattr(priority_router, "PriorityUpdater", FakeUpdater)
    router = PriorityRouter(scene.board.addresses, scene.stop, board=scene.board)
    for number in range(3):
        scene.answer(number)
    keys, shards = np.array([5, 6, 7, 5], np.uint64), np.array([2, 0, 2, 2], np.int32)
    router.update(keys, np.array([1.0, 2.0, 3.0, 4.0]), shards)
    sent = {number: updater.sent for number, (_, updater) in router._updaters.items()}
    assert sent == {0: [([6], [2.0])], 2: [([5, 7, 5], [1.0, 3.0, 4.0])]}
    router._updaters[2][1].dropped_updates = 3
    scene.lose(2)
    router.update(keys, np.ones(4), shards)
    assert router.dropped_updates == 4
    scene.answer(2)
    router.update(keys, np.ones(4), shards)
    assert router._updaters[2][1].sent == [([5, 7, 5], [1.0, 1.0, 1.0])]
    assert router.dropped_updates == 4


def test_one_service_gets_all_priorities_without_a_board(monkeypatch):
    monkeypatch.setattr(priority_router, "PriorityUpdater", FakeUpdater)
    router = PriorityRouter(["host:0"], StopSignal())
    router.update(np.array([5, 6], np.uint64), np.ones(2), np.zeros(2, np.int32))
    assert router._updaters[0][1].sent == [([5, 6], [1.0, 1.0])]
