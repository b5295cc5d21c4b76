"""Writes one environment's episodes into several replay services: whole episodes, in turn.

An actor holds one per environment where ``replay.num_shards`` is above 1. Knows who is there, not
how an episode is packed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from efficientzero.config import Config
from efficientzero.runtime import StopSignal
from efficientzero.schema import Ending, EnvSpec, Frames, ReplayStep
from replay.episode_writer import EpisodeWriter
from replay.shard_board import ShardBoard
from replay.shard_watch import watch_shards


class _Open(NamedTuple):
    """A stream into a shard."""

    link: StopSignal
    writer: EpisodeWriter


class ShardedWriter:
    """An ``EpisodeWriter`` over several services.

    Episode k goes to shard (first + k) modulo N, so that one actor with one environment fills all
    of them; where that one is away, to the next that is there. What a lost shard had of a running
    episode is dropped with the rest of it, and counted.
    """

    def __init__(
        self, board: ShardBoard, env_spec: EnvSpec, config: Config, stop: StopSignal, *, first: int
    ) -> None:
        """Open no stream yet.

        Args:
            board: tells which shards are there.
            env_spec: of the run's environment.
            config: the run's.
            stop: ends every wait.
            first: number of the shard to begin with, modulo N.
        """
        self._board, self._env_spec, self._config, self._stop = board, env_spec, config, stop
        self._turn = first
        self._open: dict[int, _Open] = {}
        self._playing: EpisodeWriter | None = None
        self._past_items, self._past_bytes = 0, 0  # of streams that are closed

    @property
    def lost_items(self) -> int:
        """Steps that never got into replay, at most."""
        return self._past_items + sum(stream.writer.lost_items for stream in self._open.values())

    @property
    def bytes_sent(self) -> int:
        """Blocks and rows handed to the streams, compressed."""
        return self._past_bytes + sum(stream.writer.bytes_sent for stream in self._open.values())

    def append(self, step: ReplayStep) -> None:
        """Add one env_step; as ``EpisodeWriter.append``."""
        if self._playing is None:
            self._playing = self._writer_to(self._choose())
        self._playing.append(step)

    def end(self, last_frame: Frames, ending: Ending) -> None:
        """Close the episode; as ``EpisodeWriter.end``."""
        if self._playing is None:
            raise ValueError("end of an episode: got no steps, wanted at least one")
        self._playing.end(last_frame, ending)
        self._playing = None
        self._turn += 1

    def close(self) -> None:
        """Close all streams; steps of a running episode that have no item yet are lost."""
        for number in list(self._open):
            self._close(number)
        self._playing = None

    def _choose(self) -> int:
        """Return whose turn it is among those that are there; if nobody is, whose it would be."""
        num_shards = len(self._board.addresses)
        for number in range(self._turn, self._turn + num_shards):
            if self._board.link(number % num_shards) is not None:
                return number % num_shards
        return self._turn % num_shards

    def _writer_to(self, number: int) -> EpisodeWriter:
        link = self._board.link(number) or self._stop
        stream = self._open.get(number)
        if stream is not None and stream.link is not link:
            self._close(number)  # its service is another now, or will be
            stream = None
        if stream is None:
            address = self._board.addresses[number]
            writer = EpisodeWriter(address, self._env_spec, self._config, link)
            stream = self._open[number] = _Open(link, writer)
        return stream.writer

    def _close(self, number: int) -> None:
        writer = self._open.pop(number).writer
        writer.close()
        self._past_items += writer.lost_items
        self._past_bytes += writer.bytes_sent


def open_writers(
    addresses: Sequence[str],
    env_spec: EnvSpec,
    config: Config,
    stop: StopSignal,
    *,
    num: int,
    first: int,
) -> list[EpisodeWriter] | list[ShardedWriter]:
    """Return the writers of an actor's ``num`` environments.

    Args:
        addresses: of the shards, by their number.
        env_spec: of the run's environment.
        config: the run's.
        stop: ends every wait.
        num: environments.
        first: shard of the first environment's first episode, modulo their number.
    """
    if len(addresses) == 1:
        return [EpisodeWriter(addresses[0], env_spec, config, stop) for _ in range(num)]
    board = watch_shards(addresses, stop)
    return [ShardedWriter(board, env_spec, config, stop, first=first + i) for i in range(num)]
