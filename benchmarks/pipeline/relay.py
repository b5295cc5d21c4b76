"""The cost of replay's relay: the same inserts and samples with and without it, in turns.

One service with its relay, as a run beyond loopback has it, and both ways to it in this process: to
Reverb itself, and through a worker's own end of the relay, with TLS and the token.
"""

from __future__ import annotations

import functools
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from benchmarks.measuring import Row, Samples, ratio_row, wall_seconds
from benchmarks.pipeline.frames import PlayedGame, play_game
from benchmarks.pipeline.service import replay_process
from efficientzero.config import ClusterConfig, Config
from efficientzero.process.free_ports import free_port
from efficientzero.process.runtime import StopSignal
from efficientzero.rpc.credentials import CREDENTIALS_VARIABLE
from replay.info import wait_until_ready
from replay.relay import RelayClient
from replay.service import PublicAddress, check_private
from replay.steps import EpisodeWriter, SliceSampler

_MAKE_CERTS = Path(__file__).parents[2] / "deploy" / "scripts" / "make_certs.sh"
_GAME = "Pong"
_BIND_HOST = "0.0.0.0"  # on loopback there would be no relay
_PATIENCE_S = 60.0
_SLICES = 64


def measure_relay(*, num_steps: int = 600, batches: int = 10, rounds: int = 7) -> list[Row]:
    """Write a real game and sample from it, both ways in turns; return the rows.

    Args:
        num_steps: env_steps of the game, which is written once a turn.
        batches: of 64 slices, sampled in a turn.
        rounds: number of turns.

    Raises:
        ValueError: replay was too slow.
    """
    try:
        check_private(_BIND_HOST, is_relayed=True)
    except PublicAddress as error:
        return [Row(name="replay's relay", value=None, unit="x", note=str(error))]
    game, stop = play_game(_GAME, num_steps), StopSignal()
    try:
        with tempfile.TemporaryDirectory() as folder, _both_ways(Path(folder), game, stop) as ways:
            inserts = _inserts(ways, game, stop, rounds=rounds)
            samples = _samples(ways, game, stop, batches=batches, rounds=rounds)
    finally:
        stop.set("measured")
    return [
        _row("insert", inserts, num_steps, "env_steps"),
        _row(f"sample {_SLICES} x RGB frames", samples, batches * _SLICES, "slices"),
    ]


@contextmanager
def _both_ways(folder: Path, game: PlayedGame, stop: StopSignal) -> Iterator[dict[str, str]]:
    """Start replay with its relay; return the addresses for Reverb's client."""
    credentials = folder / "credentials"
    subprocess.run([_MAKE_CERTS, credentials], check=True, capture_output=True)
    port, before = free_port(), os.environ.get(CREDENTIALS_VARIABLE)
    cluster = ClusterConfig(bind_host=_BIND_HOST, replay_port=port)
    relay = f"tls://127.0.0.1:{port}"
    os.environ[CREDENTIALS_VARIABLE] = str(credentials)
    try:
        config = Config(cluster=cluster)
        with replay_process(folder / "run", config, game.spec, stop) as service:
            way = RelayClient(relay, stop, folder=credentials).address
            wait_until_ready(way, stop, timeout_s=_PATIENCE_S)
            yield {"relay": way, "direct": service.address}
    finally:
        if before is None:
            del os.environ[CREDENTIALS_VARIABLE]
        else:
            os.environ[CREDENTIALS_VARIABLE] = before


def _inserts(ways: dict[str, str], game: PlayedGame, stop: StopSignal, *, rounds: int) -> Samples:
    steps, config = game.steps(), Config()
    writers = {
        name: EpisodeWriter(way, game.spec, config, stop, budget_s=_PATIENCE_S)
        for name, way in ways.items()
    }

    def write(name: str) -> None:
        game.write(writers[name], steps)

    seconds = wall_seconds({name: functools.partial(write, name) for name in ways}, rounds=rounds)
    for writer in writers.values():
        if writer.lost_items:
            raise ValueError("replay took too long to take steps, wanted all of them")
        writer.close()
    return seconds


def _samples(
    ways: dict[str, str], game: PlayedGame, stop: StopSignal, *, batches: int, rounds: int
) -> Samples:
    samplers = {name: SliceSampler(way, game.spec, Config(), stop) for name, way in ways.items()}

    def draw(name: str) -> None:
        for _ in range(batches):
            if samplers[name].sample(_SLICES, timeout_s=_PATIENCE_S) is None:
                raise ValueError(f"replay gave no {_SLICES} slices in {_PATIENCE_S:g} s")

    return wall_seconds({name: functools.partial(draw, name) for name in ways}, rounds=rounds)


def _row(what: str, seconds: Samples, count: int, unit: str) -> Row:
    relayed, direct = (count / median(seconds[name]) for name in ("relay", "direct"))
    return ratio_row(
        f"{what}, seconds with the relay / without",
        seconds["relay"],
        seconds["direct"],
        note=f"{relayed:,.0f} against {direct:,.0f} {unit}/s",
    )
