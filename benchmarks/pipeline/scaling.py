"""How env_steps/s grow with the number of actors, and whether the run stays the same run.

A real replay process, the learner's real governor behind its real gRPC server, and actors that
are real but for their network (``simulated_actors``). The learner's training is a wait.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import IO

from benchmarks.measuring import Row
from benchmarks.pipeline.frames import GAMES, play_game
from benchmarks.pipeline.service import ReplayProcess, replay_process
from benchmarks.pipeline.simulated_actors import WEIGHTS, Order
from efficientzero.config import ActorConfig, BudgetConfig, ClusterConfig, Config, config_to_dict
from efficientzero.process.guarded_thread import guarded_thread
from efficientzero.process.runtime import StopSignal
from efficientzero.rpc.stubs import weights_pb2
from learner.pacing import Governor
from learner.records import RunRecord
from learner.services import GrpcServer
from learner.weights import WeightPublisher
from replay.info import ReplayInfo

_SEARCH_S = 0.5  # much more than an actor's own computing time, so that 16 fit on two cores
_TURNS = 8
_NUM_ENVS = 8
_COUNTS = (1, 2, 4, 8, 16)
_LEAST_PERCENT = 95.0
_FAIR_COUNTS = (1, 2, 4)
_FAIR_SEARCH_S, _FAIR_TRAIN_STEP_S = 0.005, 0.004
_FAIR_ENVS, _FAIR_ENV_STEPS, _FAIR_WARMUP, _FAIR_TRAIN_STEPS = 4, 4_100, 100, 1_025
_MOST_PERCENT_APART = 1.0
_LOOK_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The result of one simulated run."""

    env_steps: int
    """As the governor counts them."""
    steps_in_replay: int
    """Inserted into replay by this run."""
    ratio: float
    """Train_steps per env_step after warm-up, when collection was about to end."""
    turn_s: list[float]
    """Seconds from search to search, the median of each actor."""


def measure_scaling() -> list[Row]:
    """Simulate with 1 to 16 actors, then one experiment with 1, 2 and 4; return the rows."""
    stop = StopSignal()
    try:
        with tempfile.TemporaryDirectory() as folder:
            spec = play_game(GAMES[0], 1).spec
            with (
                replay_process(Path(folder) / "run", Config(), spec, stop) as service,
                _simulator() as (orders, answers),
            ):
                simulation = _Simulation(service, orders, answers, Path(folder))
                runs = [simulation.run(_scaling_config(n), _SEARCH_S, 0.0) for n in _COUNTS]
                fair = [
                    simulation.run(_fair_config(n), _FAIR_SEARCH_S, _FAIR_TRAIN_STEP_S)
                    for n in _FAIR_COUNTS
                ]
    finally:
        stop.set("measured")
    return [*scaling_rows(_COUNTS, runs), *fairness_rows(_FAIR_COUNTS, fair)]


def scaling_rows(counts: Sequence[int], runs: Sequence[Run]) -> list[Row]:
    """Return env_steps/s for each number of actors, as a share of linear growth."""
    rates = [sum(_NUM_ENVS / turn for turn in run.turn_s) for run in runs]
    alone = rates[0] / counts[0]
    return [
        Row(
            name=f"{count} actor{'s' * (count > 1)}, share of linear",
            value=100.0 * rate / (count * alone),
            unit="%",
            must=_LEAST_PERCENT,
            at_least=True,
            note=f"{rate:.0f} env_steps/s",
        )
        for count, rate in zip(counts, rates, strict=True)
    ]


def fairness_rows(counts: Sequence[int], runs: Sequence[Run]) -> list[Row]:
    """Return how far the achieved ratios are apart, and how far from the budget env_steps are."""
    ratios = [run.ratio for run in runs]
    names = ", ".join(map(str, counts))
    budget = _FAIR_ENV_STEPS
    off = max(max(abs(r.env_steps - budget), abs(r.steps_in_replay - budget)) for r in runs)
    return [
        Row(
            name=f"replay ratio, {names} actors, apart",
            value=100.0 * (max(ratios) / min(ratios) - 1.0),
            unit="%",
            must=_MOST_PERCENT_APART,
            note="ratios " + ", ".join(f"{ratio:.4f}" for ratio in ratios),
        ),
        Row(
            name=f"env_steps off budget, {names} actors",
            value=float(off),
            unit="",
            must=0.0,
            note=f"of {budget}; governor and replay",
        ),
    ]


class _Simulation:
    """Runs one config after the other on one replay service."""

    def __init__(
        self, service: ReplayProcess, orders: IO[str], answers: IO[str], folder: Path
    ) -> None:
        self._service, self._orders, self._answers = service, orders, answers
        self._folder, self._info = folder, ReplayInfo(service.address)

    def run(self, config: Config, search_s: float, train_step_s: float) -> Run:
        """Simulate until the budget is played."""
        inserted = self._inserted()
        governor, stop = Governor(config), StopSignal()
        trainer = _Trainer(governor, train_step_s, stop)
        publisher = WeightPublisher()
        publisher.publish(weights_pb2.LATEST, WEIGHTS, 1)  # from 0 on actors would not search
        record = RunRecord(self._folder)
        try:
            with GrpcServer(
                "127.0.0.1:0", governor=governor, publisher=publisher, record=record
            ) as server:
                order = Order(
                    replay_address=self._service.address,
                    learner_address=server.address,
                    config=config_to_dict(config),
                    latency_s=search_s,
                )
                print(json.dumps(dataclasses.asdict(order)), file=self._orders, flush=True)
                line = self._answers.readline()
        finally:
            stop.set("simulated")
        stop.check()
        if not line:
            raise ValueError("the simulated actors ended early, wanted an answer")
        answer = json.loads(line)
        return Run(
            env_steps=governor.env_steps,
            steps_in_replay=self._inserted() - inserted,
            ratio=trainer.ratio,
            turn_s=[_median_gap(started) for started in answer],
        )

    def _inserted(self) -> int:
        counts = self._info.read()
        if counts is None:
            raise ValueError("replay does not answer")
        return counts.steps_inserted


class _Trainer:
    """Makes train_steps as the governor allows, each a wait of fixed length."""

    def __init__(self, governor: Governor, train_step_s: float, stop: StopSignal) -> None:
        self._governor, self._train_step_s, self._stop = governor, train_step_s, stop
        self.ratio = 0.0
        """As the learner's fairness record counts it: of the last step before collection ended."""
        guarded_thread(self._run, stop, name="trainer")

    def _run(self) -> None:
        pace, made = self._governor.pace, 0
        while made < pace.total_train_steps:
            if not self._governor.wait_to_train(made, _LOOK_S, self._stop):
                if self._stop.is_set():
                    return
                continue
            if self._train_step_s:
                self._stop.wait(self._train_step_s)
            made += 1
            env_steps = self._governor.env_steps
            if env_steps < pace.env_steps:
                self.ratio = made / (env_steps - pace.warmup_env_steps)
            self._governor.train_step_completed(made)


def _scaling_config(num_actors: int) -> Config:
    env_steps = _TURNS * _NUM_ENVS * num_actors
    return Config(
        budget=BudgetConfig(
            env_steps=env_steps, train_steps=env_steps, warmup_env_steps=0, last_train_steps=0
        ),
        actor=ActorConfig(num_envs=_NUM_ENVS),
        cluster=ClusterConfig(num_actors=num_actors),
    )


def _fair_config(num_actors: int) -> Config:
    return Config(
        budget=BudgetConfig(
            env_steps=_FAIR_ENV_STEPS,
            train_steps=_FAIR_TRAIN_STEPS,
            warmup_env_steps=_FAIR_WARMUP,
            last_train_steps=0,
        ),
        actor=ActorConfig(num_envs=_FAIR_ENVS),
        cluster=ClusterConfig(num_actors=num_actors),
    )


def _median_gap(started_at: Sequence[float]) -> float:
    # The first search follows the resets.
    return median(b - a for a, b in itertools.pairwise(started_at[1:]))


@contextlib.contextmanager
def _simulator() -> Iterator[tuple[IO[str], IO[str]]]:
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.pipeline.simulated_actors"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdin, process.stdout
        finally:
            process.kill()
