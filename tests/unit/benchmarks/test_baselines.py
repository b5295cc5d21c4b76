"""The baselines that a user would pick instead: their parts by hand, and short trainings."""

import csv
import dataclasses
import json

import numpy as np
import pytest
import torch

from benchmarks.baselines.command import BaselinesCommand, train_baselines
from benchmarks.baselines.dqn import NStep
from benchmarks.baselines.ppo import PpoConfig, generalized_advantages
from benchmarks.baselines.replay import Replay
from benchmarks.baselines.tasks import Curve, Task
from efficientzero.config.preset_files import load_preset

DISCOUNT = 0.5


def transitions(rewards, *, terminated, n_steps=3):
    """Return (first observation, reward, following observation, discount) of an episode."""
    replay = Replay(100, np.zeros(1), np.zeros((), np.int64), np.random.default_rng(0))
    steps = NStep(replay, n_steps, DISCOUNT)
    for t, reward in enumerate(rewards):
        ended = t == len(rewards) - 1
        steps.add(
            np.array([float(t)]),
            0,
            reward,
            np.array([t + 1.0]),
            terminated=ended and terminated,
            ended=ended,
        )
    observations, _, totals, following, discounts = replay.sample(2_000)
    columns = (observations[:, 0], totals, following[:, 0], discounts)
    return sorted(set(zip(*(column.tolist() for column in columns), strict=True)))


def test_n_step_returns_of_an_episode_that_terminates():
    assert transitions([1.0, 2.0, 4.0, 8.0], terminated=True) == [
        (0.0, 1.0 + 1.0 + 1.0, 3.0, 0.125),
        (1.0, 2.0 + 2.0 + 2.0, 4.0, 0.0),
        (2.0, 4.0 + 4.0, 4.0, 0.0),
        (3.0, 8.0, 4.0, 0.0),
    ]


def test_n_step_returns_of_an_episode_that_is_cut_go_on_with_its_last_value():
    assert transitions([1.0, 2.0], terminated=False) == [
        (0.0, 2.0, 2.0, 0.25),
        (1.0, 2.0, 2.0, 0.5),
    ]


def test_generalised_advantages_are_sums_of_errors_until_the_episode_ends():
    config = PpoConfig(discount=0.9, gae_lambda=0.8)
    rewards = torch.tensor([[1.0], [2.0], [3.0]])
    values = torch.tensor([[0.5], [1.5], [2.5], [4.0]])
    ends = torch.tensor([[0.0], [1.0], [0.0]])
    errors = [1.0 + 0.9 * 1.5 - 0.5, 2.0 - 1.5, 3.0 + 0.9 * 4.0 - 2.5]
    wanted = torch.tensor([[errors[0] + 0.9 * 0.8 * errors[1]], [errors[1]], [errors[2]]])
    torch.testing.assert_close(generalized_advantages(rewards, values, ends, config), wanted)


def test_evaluations_come_at_equal_distances():
    task = Task(load_preset("catch"), num_evaluations=3, num_episodes=2)
    curve = Curve()
    for env_steps in (1_000, 4_500, 5_000, 7_999, 8_000, task.env_steps):
        task.evaluate_when_due(curve, env_steps, lambda seen: np.zeros(len(seen), np.int64))
    assert [point.env_steps for point in curve.points] == [4_500, 8_000, 12_000]


def test_trainings_are_written_and_not_done_again(tmp_path, capsys):
    command = BaselinesCommand(
        tasks=("catch",),
        seeds=(0, 1),
        env_steps=1_200,
        num_evaluations=2,
        num_episodes=2,
        out=tmp_path / "out",
    )
    assert train_baselines(command) == 0
    written = {path: path.read_bytes() for path in command.out.glob("*.json")}
    assert len(written) == 2 * 3
    dqn = json.loads(next(p for p in written if "dqn_s0" in p.name).read_text())
    assert [point["env_steps"] for point in dqn["points"]] == [600, 1_200]
    assert 0.0 < dqn["points"][0]["cpu_seconds"] < dqn["points"][1]["cpu_seconds"]
    assert train_baselines(command) == 0
    assert {path: path.read_bytes() for path in command.out.glob("*.json")} == written
    with (command.out / "curves.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2 * (2 + 2 + 1)
    assert "seeds: 2" in capsys.readouterr().out
    more = dataclasses.replace(command, algorithms=("random",), seeds=(2,))
    assert train_baselines(more) == 0
    with (command.out / "curves.csv").open() as file:  # of both commands
        assert len(list(csv.DictReader(file))) == 2 * (2 + 2 + 1) + 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tasks": ("pong",)}, "--tasks: got 'pong'"),
        ({"num_episodes": 0}, "num_episodes: got 0"),
        ({"seeds": ()}, "no seed"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path, change, said):
    with pytest.raises(ValueError, match=said):
        train_baselines(BaselinesCommand(**{"out": tmp_path, **change}))
