"""Atari preprocessing against the emulator's own frame counter, raw screens and vector env."""

import threading
from typing import Any

import ale_py
import cv2
import numpy as np
import pytest
from ale_py import roms

from efficientzero.config import AtariConfig
from efficientzero.envs.atari.game import AtariGame

FIRE = 1  # in Breakout's minimal action set: NOOP, FIRE, RIGHT, LEFT
ATARI_100K = """
alien amidar assault asterix bank_heist battle_zone boxing breakout chopper_command crazy_climber
demon_attack freeway frostbite gopher hero jamesbond kangaroo krull kung_fu_master ms_pacman pong
private_eye qbert road_runner seaquest up_n_down
"""
NO_NOOPS = AtariConfig(noop_max=0)


def make_game(
    game: str,
    config: AtariConfig = NO_NOOPS,
    *,
    seed: int = 0,
    training: bool = False,
    max_episode_steps: int = 0,
) -> AtariGame:
    return AtariGame(
        game, config, seed=seed, training=training, max_episode_steps=max_episode_steps
    )


def frame_number(env: AtariGame) -> int:
    """Emulator frames since the game was started."""
    return int(env.emulator.getEpisodeFrameNumber())


def area_resize(screen: np.ndarray) -> np.ndarray:
    resized = cv2.resize(screen, (96, 96), interpolation=cv2.INTER_AREA)
    return np.moveaxis(resized, 2, 0)


def play_until_game_over(env: AtariGame) -> tuple[list[np.ndarray], list[int]]:
    """Press FIRE until the game is over; return all frames and each episode's length."""
    frames, lengths, game_over = [], [], False
    while not game_over:
        frames.append(env.reset())
        has_ended, length = False, 0
        while not has_ended:
            step = env.step(FIRE)
            frames.append(step.frame)
            length += 1
            has_ended, game_over = step.terminated or step.truncated, step.game_over
        lengths.append(length)
    return frames, lengths


@pytest.mark.parametrize("frame_skip", [1, 4])
def test_one_env_step_is_frame_skip_emulator_frames(frame_skip: int):
    env = make_game("pong", AtariConfig(frame_skip=frame_skip, noop_max=0))
    env.reset()
    before = frame_number(env)
    for count in range(1, 6):
        env.step(2)
        assert frame_number(env) - before == count * frame_skip


def test_reset_plays_between_one_and_noop_max_emulator_frames():
    env = make_game("pong", AtariConfig(noop_max=3), seed=1)
    counts = set()
    for _ in range(30):
        env.reset()
        counts.add(frame_number(env))
    assert counts == {1, 2, 3}


def test_noop_max_zero_starts_at_the_emulators_first_frame():
    env = make_game("pong")
    env.reset()
    assert frame_number(env) == 0


def test_frames_are_the_area_resized_maximum_of_the_last_two_screens_until_a_game_ends():
    env = make_game("breakout")
    reference = make_game("breakout").emulator
    actions = reference.getMinimalActionSet()
    reference.reset_game()
    np.testing.assert_array_equal(env.reset(), area_resize(reference.getScreenRGB()))
    rng = np.random.default_rng(0)
    is_over = False
    while not is_over:
        action = int(rng.integers(len(actions)))
        step = env.step(action)
        reward = 0
        screens: list[np.ndarray] = []
        while len(screens) < 4 and not is_over:
            reward += reference.act(actions[action])
            screens.append(reference.getScreenRGB())
            is_over = reference.game_over()
        pooled = np.maximum(*screens[-2:]) if len(screens) == 4 else screens[-1]
        np.testing.assert_array_equal(step.frame, area_resize(pooled))
        assert (step.reward, step.terminated, step.truncated) == (reward, is_over, False)
    assert len(screens) < 4  # this game ended inside a skip, which is the harder case


def test_max_pooling_changes_what_is_seen():
    env = make_game("breakout")
    env.reset()
    alone = 0
    for _ in range(20):
        step = env.step(FIRE)
        alone += np.array_equal(step.frame, area_resize(env.emulator.getScreenRGB()))
    assert alone < 20


@pytest.mark.parametrize("game", ["pong", "ms_pacman"])
def test_frames_and_rewards_equal_ale_pys_vector_env_between_reset_and_ending(game: str):
    ours = make_game(game)
    actions = np.random.default_rng(0).integers(ours.num_actions, size=100)
    theirs: list[tuple[Any, ...]] = []

    def play_vector_env() -> None:
        env = ale_py.AtariVectorEnv(
            game, 1, img_height=96, img_width=96, grayscale=False, stack_num=1, num_threads=1,
            noop_max=0, reward_clipping=False, use_fire_reset=False, repeat_action_probability=0.0,
        )  # fmt: skip
        theirs.append((env.reset(seed=0)[0], 0.0, False))
        theirs.extend(env.step(np.array([action]))[:3] for action in actions)
        env.close()

    player = threading.Thread(target=play_vector_env, daemon=True)  # its reset was seen to hang
    player.start()
    player.join(timeout=60)
    assert len(theirs) == 101
    np.testing.assert_array_equal(ours.reset(), np.moveaxis(theirs[0][0][0, 0], 2, 0))
    for action, (frames, reward, terminated) in zip(actions, theirs[1:], strict=True):
        step = ours.step(int(action))
        np.testing.assert_array_equal(step.frame, np.moveaxis(frames[0, 0], 2, 0))
        assert (step.reward, step.terminated) == (reward[0], terminated[0])


def test_a_lost_life_ends_the_training_episode_and_continues_the_game():
    env = make_game("breakout", training=True)
    env.reset()
    step = env.step(FIRE)
    while not step.terminated:
        step = env.step(FIRE)
    assert env.emulator.lives() == 4
    assert (step.truncated, step.game_over) == (False, False)
    before = frame_number(env)
    env.reset()
    assert frame_number(env) == before + 4  # one no-op env_step, not a new game
    assert env.emulator.lives() == 4


def test_training_sees_the_same_game_as_evaluation_cut_into_one_episode_per_life():
    _, lengths = play_until_game_over(make_game("breakout", training=True))
    assert len(lengths) == 5
    evaluation = make_game("breakout", training=False)
    evaluation.reset()
    # The training game again, in one episode: a no-op step stands where a life was lost.
    presses = [FIRE] * lengths[0]
    for length in lengths[1:]:
        presses += [0] + [FIRE] * length
    steps = [evaluation.step(press) for press in presses]
    assert [step.terminated for step in steps] == [False] * (len(steps) - 1) + [True]
    assert [step.game_over for step in steps] == [False] * (len(steps) - 1) + [True]


def test_a_game_over_is_followed_by_a_new_game():
    env = make_game("breakout", training=True)
    play_until_game_over(env)
    env.reset()
    assert (frame_number(env), env.emulator.lives()) == (0, 5)


def test_the_time_limit_truncates_and_does_not_terminate():
    env = make_game("pong", max_episode_steps=7)
    env.reset()
    steps = [env.step(0) for _ in range(7)]
    assert not any(step.terminated for step in steps)
    assert [step.truncated for step in steps] == [False] * 6 + [True]
    assert steps[-1].game_over
    env.reset()
    assert frame_number(env) == 0


def test_the_time_limit_counts_all_env_steps_of_a_game_across_lost_lives():
    env = make_game("breakout", training=True, max_episode_steps=60)
    frames, lengths = play_until_game_over(env)
    assert len(lengths) > 1
    assert len(frames) - 1 == 60  # all but the first frame of the game cost an env_step
    assert frame_number(env) == 60 * 4


@pytest.mark.parametrize("steps_left", [0, 1])
def test_a_life_lost_at_the_time_limit_or_one_step_before_ends_the_game(steps_left: int):
    _, lengths = play_until_game_over(make_game("breakout", training=True))
    env = make_game("breakout", training=True, max_episode_steps=lengths[0] + steps_left)
    env.reset()
    steps = [env.step(FIRE) for _ in range(lengths[0])]
    assert (steps[-1].terminated, steps[-1].truncated, steps[-1].game_over) == (True, False, True)
    env.reset()
    assert (frame_number(env), env.emulator.lives()) == (0, 5)


def test_the_emulators_own_frame_limit_is_off_so_that_27000_env_steps_fit():
    assert make_game("pong").emulator.getInt("max_num_frames_per_episode") == 0


def test_same_seed_and_actions_give_the_same_episode():
    first, second = (make_game("breakout", AtariConfig(), seed=5) for _ in range(2))
    frames, lengths = play_until_game_over(first)
    frames_again, lengths_again = play_until_game_over(second)
    assert lengths == lengths_again
    np.testing.assert_array_equal(frames, frames_again)


def test_different_seeds_start_differently():
    counts = set()
    for seed in range(4):
        env = make_game("pong", AtariConfig(), seed=seed)
        env.reset()
        counts.add(frame_number(env))
    assert len(counts) > 2


def test_sticky_actions_are_as_configured():
    sticky = make_game("pong", AtariConfig(sticky_action_probability=0.25))
    assert make_game("pong").emulator.getFloat("repeat_action_probability") == 0.0
    assert sticky.emulator.getFloat("repeat_action_probability") == 0.25


def test_the_action_set_is_minimal_unless_all_are_asked_for():
    assert make_game("pong").num_actions == 6
    assert make_game("pong", AtariConfig(full_action_space=True)).num_actions == 18


@pytest.mark.parametrize("grayscale, num_channels", [(False, 3), (True, 1)])
def test_frames_are_channel_first_uint8_images(grayscale: bool, num_channels: int):
    env = make_game("pong", AtariConfig(image_size=64, grayscale=grayscale))
    for frame in (env.reset(), env.step(0).frame):
        assert frame.shape == env.frame_shape == (num_channels, 64, 64)
        assert frame.dtype == np.uint8
        assert frame.std() > 0


def test_a_game_that_cannot_be_read_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("ALE_ROMS_DIR", str(tmp_path))
    with pytest.raises(ValueError, match=r"ROM of pong cannot be read.*unset ALE_ROMS_DIR"):
        make_game("pong")


def test_the_games_of_atari_100k_come_with_ale_py():
    missing = [game for game in ATARI_100K.split() if roms.get_rom_path(game) is None]
    assert missing == []
