"""The cost of replay, measured on its real process: memory, writing a step, sampling a batch.

Frames are those of five real games (``pipeline_frames``). CPU time is that of whole processes, so
that threads of Reverb and gRPC count.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.measuring import Row
from benchmarks.pipeline.frames import PlayedGame, play_games
from benchmarks.pipeline.service import ReplayProcess, replay_process
from efficientzero.config import Config
from efficientzero.process.runtime import StopSignal
from efficientzero.schema import EnvSpec
from replay.steps import EpisodeWriter, SliceSampler

_STEPS_PER_GAME = 600
_PASSES = 16  # of writing all games; the first is not measured
_BATCHES = 10
_PATIENCE_S = 60.0
_SETTLE_S = 2.0
_MILLION = 1_000_000
_ACTOR_STEPS_PER_S = 1_000


def measure_replay(*, steps_per_game: int = _STEPS_PER_GAME, batches: int = _BATCHES) -> list[Row]:
    """Write real games and sample from them; return the rows."""
    games, stop = play_games(steps_per_game), StopSignal()
    # Memory and writing: each game with its own actions. Sampling: one shape for all.
    alike = _with_most_actions(games)
    try:
        with tempfile.TemporaryDirectory() as folder:
            directory, config = Path(folder), Config()
            with replay_process(directory / "write", config, games[0].spec, stop) as service:
                rows = _measure_writing(service, games, config, stop)
            with replay_process(directory / "sample", config, alike[0].spec, stop) as service:
                _write(service, alike, config, stop)
                rows += _measure_sampling(service, alike[0].spec, config, stop, batches)
    finally:
        stop.set("measured")
    return rows


def _measure_writing(
    service: ReplayProcess, games: Sequence[PlayedGame], config: Config, stop: StopSignal
) -> list[Row]:
    writers = [EpisodeWriter(service.address, game.spec, config, stop) for game in games]
    steps = [game.steps() for game in games]  # made beforehand: only writing them is measured

    def write_all() -> None:
        for game, writer, of_game in zip(games, writers, steps, strict=True):
            game.write(writer, of_game)

    empty_bytes = service.resident_bytes
    write_all()
    num_steps = (_PASSES - 1) * sum(map(len, games))
    resident, served_s = service.resident_bytes, service.cpu_s
    own_s, thread_s = time.process_time(), time.thread_time()
    for _ in range(_PASSES - 1):
        write_all()
    own_us = 1e6 * (time.process_time() - own_s) / num_steps
    thread_us = 1e6 * (time.thread_time() - thread_s) / num_steps
    served_us = 1e6 * (service.cpu_s - served_s) / num_steps
    bytes_per_step = (service.resident_bytes - resident) / num_steps
    if any(writer.lost_items for writer in writers):
        raise ValueError("replay took too long to take steps, wanted all of them")
    for writer in writers:
        writer.close()
    return [
        Row(
            name="replay memory, Atari transition",
            value=bytes_per_step / 1e3,
            unit="KB",
            must=2.2,
            note=f"RSS over {num_steps} steps",
        ),
        Row(
            name="replay memory, 1 M transitions",
            value=(empty_bytes + _MILLION * bytes_per_step) / 1e9,
            unit="GB",
            must=2.5,
            note="extrapolated",
        ),
        Row(
            name=f"insert at {_ACTOR_STEPS_PER_S} env_steps/s, of a core",
            value=100.0 * 1e-6 * own_us * _ACTOR_STEPS_PER_S,
            unit="%",
            must=3.0,
            note=f"{own_us:.0f} us of CPU a step, {thread_us:.0f} in its thread",
        ),
        Row(
            name="insert, limit of the service",
            value=1e6 / served_us,
            unit="1/s",
            note=f"{served_us:.0f} us of CPU a step, one core",
        ),
    ]


def _measure_sampling(
    service: ReplayProcess, spec: EnvSpec, config: Config, stop: StopSignal, batches: int
) -> list[Row]:
    sampler, size = SliceSampler(service.address, spec, config, stop), config.learner.batch_size
    addresses = set()

    def draw(count: int) -> Tensor:
        for _ in range(count):
            batch = sampler.sample(size, timeout_s=_PATIENCE_S)
            if batch is None:
                raise ValueError(f"replay gave no {size} slices in {_PATIENCE_S:g} s")
            frames = torch.from_numpy(batch.frames)  # copies nothing
            addresses.add(frames.data_ptr())
        return frames

    draw(3)
    time.sleep(_SETTLE_S)  # the sampler reads one batch ahead: before and after alike
    own_s, served_s, num_buffers = time.process_time(), service.cpu_s, len(addresses)
    frames = draw(batches)
    time.sleep(_SETTLE_S)
    own_ms = 1e3 * (time.process_time() - own_s) / batches
    served_ms = 1e3 * (service.cpu_s - served_s) / batches
    if len(addresses) != num_buffers:
        raise ValueError("batches were in fresh memory, wanted buffers used in turn")
    what = f"sample {size} x {frames.shape[1]} RGB frames"
    return [
        Row(
            name=f"{what}, client",
            value=own_ms,
            unit="ms",
            must=70.0,
            note="stock client 142",
        ),
        Row(
            name=f"{what}, server",
            value=served_ms,
            unit="ms",
            must=6.0,
            note="stock client 18",
        ),
    ]


def _with_most_actions(games: Sequence[PlayedGame]) -> list[PlayedGame]:
    """Return the games with equal action sets, those of the game with most actions."""
    most = max(game.spec.num_actions for game in games)
    return [
        dataclasses.replace(
            game,
            spec=dataclasses.replace(game.spec, num_actions=most),
            policies=np.pad(game.policies, ((0, 0), (0, most - game.spec.num_actions))),
        )
        for game in games
    ]


def _write(
    service: ReplayProcess, games: Sequence[PlayedGame], config: Config, stop: StopSignal
) -> None:
    for game in games:
        writer = EpisodeWriter(service.address, game.spec, config, stop)
        game.write(writer, game.steps())
        writer.close()
