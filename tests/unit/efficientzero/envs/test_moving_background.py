"""The background of the reconstruction studies: it moves, means nothing, and hides nothing."""

import gymnasium
import numpy as np

from efficientzero.envs.games.catch import CatchEnv
from tests.support.moving_background import BRIGHTEST, MovingBackground


def games(seed):
    """Return a game's frames, rewards and plain frames under fixed actions."""
    env, plain = MovingBackground(CatchEnv()), CatchEnv()
    frames, plains, rewards = [env.reset(seed=seed)[0]], [plain.reset(seed=seed)[0]], []
    for action in (0, 1, 2, 2, 2, 1, 0, 0, 1):
        frame, reward, terminated, _, _ = env.step(action)
        plains.append(plain.step(action)[0])
        frames.append(frame)
        rewards.append(reward)
    assert terminated
    return frames, plains, rewards


def test_ball_and_paddle_are_as_without_it_and_all_else_is_noise():
    frames, plains, rewards = games(3)
    for frame, plain in zip(frames, plains, strict=True):
        assert frame.dtype == np.uint8
        assert np.array_equal(frame == 255, plain == 255)
        assert frame[plain == 0].max() <= BRIGHTEST
        assert frame[plain == 0].std() > 20
    assert rewards[:-1] == [0.0] * 8
    assert abs(rewards[-1]) == 1.0


def test_it_moves_by_one_column_and_is_another_in_each_game():
    frames, plains, _ = games(3)
    for t in range(len(frames) - 1):
        moved = np.roll(frames[t], 1, axis=1)
        is_seen = (plains[t + 1] == 0) & (np.roll(plains[t], 1, axis=1) == 0)
        assert np.array_equal(frames[t + 1][is_seen], moved[is_seen])
    env = MovingBackground(CatchEnv())
    first, second = env.reset(seed=3)[0], env.reset()[0]
    assert np.array_equal(first, frames[0])
    assert not np.array_equal(first[1:9], second[1:9])


def test_a_run_finds_it_by_its_module():
    env = gymnasium.make("tests.support.moving_background:CatchOnNoise-v0")
    assert env.observation_space.shape == (10, 5)
    env.close()
