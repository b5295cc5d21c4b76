"""The command ``baselines``: train plain DQN, PPO and SAC, and write their curves."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, get_args

import numpy as np
import torch
import tyro

from benchmarks.baselines.curves import LEVELS, LearningCurve, write_curves
from benchmarks.baselines.dqn import DqnConfig, train_dqn
from benchmarks.baselines.ppo import PpoConfig, train_ppo
from benchmarks.baselines.ppo_continuous import CONTINUOUS, GaussianAgent
from benchmarks.baselines.sac import SacConfig, train_sac
from benchmarks.baselines.tasks import Curve, Point, Task, play_randomly
from benchmarks.learning.intervals import mean_interval
from benchmarks.pages.arms import read_cells
from efficientzero.config import PRESETS, Config, load_preset, nearest
from efficientzero.envs import probe_env_spec
from efficientzero.runs.run_folder import write_json
from efficientzero.schema import EnvSpec

AlgorithmName = Literal["dqn", "ppo", "sac", "random", "random-legal"]

TRAIN: dict[AlgorithmName, Callable[[Task], Curve]] = {
    "dqn": lambda task: train_dqn(task, DqnConfig()),
    "ppo": lambda task: (
        train_ppo(task, CONTINUOUS, GaussianAgent)
        if task.spec.action_kind == "continuous"
        else train_ppo(task, PpoConfig())
    ),
    "sac": lambda task: train_sac(task, SacConfig()),
    "random": play_randomly,
    "random-legal": play_randomly,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselinesCommand:
    """Train plain DQN, PPO and SAC, untuned, on the presets' environments; play at random.

    DQN for numbered actions, SAC for continuous ones. One thread each. Finished trainings are
    skipped, so the same command continues after an interruption.
    """

    tasks: tuple[str, ...] = ("catch", "cartpole", "minatar")
    """Presets: their environment, budget of env_steps and limits of an episode's length."""
    algorithms: tuple[AlgorithmName, ...] = ()
    """What to train. Default: all that the environment's actions fit. They do not know which
    actions are legal; random-legal, random play of legal actions, does."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One training for each task, algorithm and seed."""
    env: str = ""
    """Another environment of the preset's kind: MinAtar/Freeway-v1."""
    grid: Path | None = None
    """A grid file of `launch.py ablate`: its environments, budget and seeds, instead of those."""
    env_steps: int = 0
    """Budget. 0: the preset's."""
    num_evaluations: int = 12
    """Over the budget, the last at its end."""
    num_episodes: int = 20
    """Greedy ones in each evaluation."""
    out: Path = Path("runs/baselines")
    """Folder for a file for each training, and curves.csv with all of them."""
    dry_run: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the trainings and exit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One training."""

    task: str
    algorithm: AlgorithmName
    config: Config
    path: Path

    @property
    def name(self) -> str:
        """For a person."""
        return f"{self.config.env.id} {self.algorithm} s{self.config.seed}"


def train_baselines(command: BaselinesCommand) -> int:
    """Train the missing ones, write curves.csv and print the last point of each; returns 0.

    Raises:
        ValueError: the command makes no sense; nothing has been trained.
    """
    cells = plan(command)
    torch.set_num_threads(1)
    for number, cell in enumerate(cells, start=1):
        is_finished = cell.path.exists()
        state = "finished" if is_finished else "to train" if command.dry_run else "training"
        _note(f"{number}/{len(cells)} {cell.name}: {state}")
        if is_finished or command.dry_run:
            continue
        curve = _train(cell, command)
        last = curve.points[-1]
        _note(f"    return {last.return_mean:.4g}, {last.cpu_seconds:.0f} CPU-s")
    if not command.dry_run:
        _report(cells, command.out)
    return 0


def plan(command: BaselinesCommand) -> list[Cell]:
    """Return the trainings, seed by seed, so that an interrupted plan has whole seeds.

    Raises:
        ValueError: no such preset, or numbers that make no sense.
    """
    for name in ("num_evaluations", "num_episodes"):
        if getattr(command, name) < 1:
            raise ValueError(f"{name}: got {getattr(command, name)}, wanted at least 1")
    if command.env_steps < 0 or min(command.seeds, default=-1) < 0:
        raise ValueError("got a negative number or no seed, wanted env_steps and seeds from 0 on")
    specs: dict[str, EnvSpec] = {}
    cells = []
    for config in _configs(command):
        env_id = config.env.id
        if env_id not in specs:
            specs[env_id] = probe_env_spec(config.env)
        for algorithm in command.algorithms or get_args(AlgorithmName):
            refusal = _refusal(algorithm, specs[env_id])
            if not refusal:
                path = training_path(command.out, config, algorithm)
                cell = Cell(task=config.preset, algorithm=algorithm, config=config, path=path)
                cells.append(cell)
            elif command.algorithms:
                raise ValueError(f"--algorithms: got {algorithm} for {env_id}, {refusal}")
    return cells


def _refusal(algorithm: AlgorithmName, spec: EnvSpec) -> str:
    """Return why an algorithm is not for an environment; nothing if it is."""
    if spec.num_players > 1:
        return "wanted an environment of one player"
    if algorithm == "dqn" and spec.action_kind == "continuous":
        return "wanted an environment of numbered actions"
    if algorithm == "sac" and spec.action_kind != "continuous":
        return "wanted an environment of continuous actions"
    if algorithm == "random-legal" and not spec.has_legal_actions:
        return "wanted an environment that shows legal actions"
    return ""


def training_path(out: Path, config: Config, algorithm: str) -> Path:
    """Return the file of one training in the folder ``out``."""
    env, steps = config.env.id.replace("/", "-"), config.budget.env_steps
    return out / f"{env}_{config.preset}_{steps}_{algorithm}_s{config.seed}.json"


def read_training(path: Path) -> LearningCurve:
    """Return the result of one training.

    Raises:
        ValueError: it cannot be read, or is no such file.
    """
    try:
        training = json.loads(path.read_text())
        points = [Point(**values) for values in training["points"]]
        return LearningCurve(
            env_id=training["env"],
            algorithm=training["algorithm"],
            seed=training["seed"],
            env_steps=np.array([p.env_steps for p in points], np.float64),
            returns=np.array([p.return_mean for p in points], np.float64),
            cpu_seconds=np.array([p.cpu_seconds for p in points], np.float64),
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: no training ({type(error).__name__}: {error})") from error


def _configs(command: BaselinesCommand) -> list[Config]:
    """Return a config for each environment and seed, seed by seed."""
    if command.grid is not None:
        own = BaselinesCommand()
        for name in ("tasks", "seeds", "env"):
            if getattr(command, name) != getattr(own, name):
                raise ValueError(f"got --grid and --{name}, wanted one: the grid has its own")
        steps = (f"budget.env-steps={command.env_steps}",) if command.env_steps else ()
        found: dict[tuple[str, int], Config] = {}
        for cell in read_cells(command.grid, steps):  # arms of one environment are one here
            found.setdefault((cell.config.env.id, cell.config.seed), cell.config)
        return list(found.values())
    for task in command.tasks:
        if task not in PRESETS:
            wanted = f"{', '.join(PRESETS)}{nearest(task, PRESETS)}"
            raise ValueError(f"--tasks: got {task!r}, wanted some of {wanted}")
    return [_config(command, task, seed) for seed in command.seeds for task in command.tasks]


def _config(command: BaselinesCommand, task: str, seed: int) -> Config:
    preset = load_preset(task)
    env = replace(preset.env, id=command.env or preset.env.id)
    steps = command.env_steps or preset.budget.env_steps
    return replace(preset, env=env, budget=replace(preset.budget, env_steps=steps), seed=seed)


def _train(cell: Cell, command: BaselinesCommand) -> Curve:
    env = replace(
        cell.config.env, legal_actions="auto" if cell.algorithm == "random-legal" else "off"
    )
    task = Task(
        replace(cell.config, env=env),
        num_evaluations=1 if cell.algorithm in LEVELS else command.num_evaluations,
        num_episodes=command.num_episodes,
    )
    curve = TRAIN[cell.algorithm](task)
    write_json(
        cell.path,
        {
            "env": cell.config.env.id,
            "preset": cell.task,
            "algorithm": cell.algorithm,
            "seed": cell.config.seed,
            "points": [asdict(point) for point in curve.points],
        },
    )
    return curve


def _report(cells: Sequence[Cell], out: Path) -> None:
    """Write the points of all trainings in ``out`` to curves.csv; print the means of ``cells``."""
    write_curves(out / "curves.csv", [read_training(path) for path in sorted(out.glob("*.json"))])
    ends: dict[tuple[str, str], list[Point]] = {}
    for cell in cells:
        last = Point(**json.loads(cell.path.read_text())["points"][-1])
        ends.setdefault((cell.config.env.id, cell.algorithm), []).append(last)
    for (env, algorithm), points in ends.items():
        interval = mean_interval([point.return_mean for point in points])
        between = f", {interval.low:.4g} to {interval.high:.4g}" if interval.n > 1 else ""
        cpu_s = sum(point.cpu_seconds for point in points) / len(points)
        print(
            f"{env:<22} {algorithm:<12} return {interval.mean:.4g} (seeds: {interval.n}{between}) "
            f"at {points[0].env_steps:,} env_steps, {cpu_s:.0f} CPU-s"
        )


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
