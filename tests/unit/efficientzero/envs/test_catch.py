"""Catch: its rules, seen from outside."""

import numpy as np

from efficientzero.config.fields import Config, EnvConfig
from efficientzero.envs import make_env_batch, probe_env_spec
from efficientzero.envs.batch import EnvBatch
from efficientzero.schema import EnvSteps, Frames

CATCH = EnvConfig(id="Catch-v0")


def make_catch(seed: int = 0) -> EnvBatch:
    return make_env_batch(Config(env=CATCH), seeds=[seed], purpose="training")


def play_towards(batch: EnvBatch, target: str) -> tuple[list[Frames], list[EnvSteps]]:
    """Play one episode; move the paddle under the ball ("ball") or away from it ("away")."""
    frames = [batch.reset([0]).frames[0]]
    steps: list[EnvSteps] = []
    ball = int(frames[0][0, 0].argmax())  # the ball falls straight down
    column = ball if target == "ball" else (0 if ball > 2 else 4)
    paddle = 2
    while not steps or not steps[-1].terminated[0]:
        action = int(np.sign(column - paddle)) + 1
        paddle += action - 1
        steps.append(batch.step([0], np.array([action])))
        frames.append(steps[-1].observed.frames[0])
    return frames, steps


def test_following_the_ball_always_earns_one():
    batch = make_catch()
    for _ in range(20):
        _, steps = play_towards(batch, "ball")
        assert [step.rewards[0] for step in steps] == [0.0] * 8 + [1.0]


def test_fleeing_the_ball_always_loses_one():
    batch = make_catch()
    for _ in range(20):
        _, steps = play_towards(batch, "away")
        assert [step.rewards[0] for step in steps] == [0.0] * 8 + [-1.0]


def test_an_episode_terminates_after_nine_steps_and_is_never_truncated():
    _, steps = play_towards(make_catch(), "ball")
    assert [bool(step.terminated[0]) for step in steps] == [False] * 8 + [True]
    assert not any(step.truncated[0] for step in steps)
    assert steps[-1].game_over[0]


def test_the_ball_falls_one_row_a_step_in_its_column():
    frames, _ = play_towards(make_catch(), "ball")
    rows = [int(np.flatnonzero(frame[0, :9].any(axis=1))[0]) for frame in frames[:-1]]
    columns = {int(frame[0, :9].any(axis=0).argmax()) for frame in frames[:-1]}
    assert rows == list(range(9))
    assert len(columns) == 1


def test_the_paddle_stops_at_the_walls():
    batch = make_catch()
    batch.reset([0])
    for _ in range(5):
        steps = batch.step([0], np.array([0]))
    assert steps.observed.frames[0, 0, 9].tolist() == [255, 0, 0, 0, 0]


def test_frames_are_small_uint8_images():
    spec = probe_env_spec(CATCH)
    assert (spec.frame_shape, spec.frame_dtype, spec.num_actions) == ((1, 10, 5), "uint8", 3)
    frame = make_catch().reset([0]).frames
    assert (frame.shape, frame.dtype.name) == ((1, 1, 10, 5), "uint8")
    assert sorted(np.unique(frame)) == [0, 255]


def test_the_ball_starts_in_every_column_and_the_seed_decides_where():
    def columns(seed: int) -> list[int]:
        batch = make_catch(seed)
        return [int(play_towards(batch, "ball")[0][0][0, 0].argmax()) for _ in range(40)]

    assert set(columns(0)) == {0, 1, 2, 3, 4}
    assert columns(0) == columns(0)
    assert columns(0) != columns(1)
