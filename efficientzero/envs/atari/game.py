"""One Atari game on ale-py's emulator, preprocessed exactly as EfficientZero's Atari 100k protocol.

Built by the factory for every id of ale-py. The emulator is driven directly: it always runs at
frame-skip one with the configured stickiness, regardless of the id's defaults (``ALE/*-v5``
would skip four frames and repeat actions a second time), and a screen is read only when it counts.

ale-py's native ``AtariVectorEnv`` is not used. Between a reset and an ending its frames and rewards
are byte-identical to these (checked in the tests), but its protocol is another one (0.12.1,
measured): 0 to noop_max - 1 no-op frames instead of 1 to noop_max; a lost life starts a new game
instead of continuing, and cuts the skip short; the frame of an ended game is the previous step's
(up to 228 of 255 grey levels off); and it cannot step or continue single environments.
"""

from __future__ import annotations

import sys
from pathlib import Path

import ale_py
import cv2
import numpy as np
from ale_py import roms

from efficientzero.config import AtariConfig
from efficientzero.envs.batch import EnvStep, SingleEnv
from efficientzero.schema import U8


class AtariGame(SingleEnv):
    """Emulator -> no-op reset -> skip and max-pool -> time limit -> life loss -> area resize.

    The time limit counts env_steps of the game, across lost lives. With ``episodic_life`` a lost
    life terminates the episode, and the next reset continues the same game with one no-op
    env_step, which counts towards the limit and whose reward nobody sees. Rewards are raw scores;
    there is no fire-reset.
    """

    def __init__(
        self, game: str, config: AtariConfig, *, seed: int, training: bool, max_episode_steps: int
    ) -> None:
        """Load the ROM named ``game`` (snake case); ``max_episode_steps`` 0 means no limit."""
        self.emulator, self._rng = _load_emulator(game, config, seed)
        self._actions = (
            self.emulator.getLegalActionSet()
            if config.full_action_space
            else self.emulator.getMinimalActionSet()
        )
        self.num_actions = len(self._actions)
        num_channels = 1 if config.grayscale else 3
        self.frame_shape: tuple[int, ...] = (num_channels, config.image_size, config.image_size)
        self.frame_dtype = "uint8"
        self._config = config
        self._episodic_life = training and config.episodic_life
        self.time_limit = max_episode_steps
        self._max_episode_steps = max_episode_steps or sys.maxsize
        channels = () if config.grayscale else (3,)
        self._screens = np.zeros((2, *self.emulator.getScreenDims(), *channels), np.uint8)
        self._lives = 0
        self._num_steps = 0  # of this game
        self._continues = False  # the episode ended, the game did not

    def reset(self) -> U8:
        """Continue the game after a lost life, else start a new one with random no-op frames."""
        if self._continues:
            self._continues = False
            self._skip_frames(ale_py.Action.NOOP)
            self._num_steps += 1
            if not self.emulator.game_over():
                self._lives = self.emulator.lives()
                return self._frame()
        return self._start_game()

    def step(self, action: int) -> EnvStep:
        """Repeat the action for ``frame_skip`` emulator frames, or until the game is over."""
        reward = self._skip_frames(self._actions[action])
        self._num_steps += 1
        is_over = self.emulator.game_over()
        lives = self.emulator.lives()
        # Zero lives are left to the emulator: it alone says when a game is over.
        lost_life = self._episodic_life and 0 < lives < self._lives
        self._lives = lives
        reached_limit = self._num_steps >= self._max_episode_steps
        # A lost life one step before the limit: the no-op step would be the game's last.
        cannot_go_on = lost_life and self._num_steps + 1 >= self._max_episode_steps
        game_over = is_over or reached_limit or cannot_go_on
        self._continues = lost_life and not game_over
        terminated = is_over or lost_life
        return EnvStep(
            frame=self._frame(),
            reward=float(reward),
            terminated=terminated,
            truncated=reached_limit and not terminated,
            game_over=game_over,
        )

    def close(self) -> None:
        """Do nothing: the emulator goes with this object."""

    def _start_game(self) -> U8:
        self.emulator.reset_game()
        if self._config.noop_max > 0:
            for _ in range(int(self._rng.integers(1, self._config.noop_max + 1))):
                self.emulator.act(ale_py.Action.NOOP)
                if self.emulator.game_over():
                    self.emulator.reset_game()
        self._read_screen(0)
        self._screens[1] = self._screens[0]
        self._lives = self.emulator.lives()
        self._num_steps = 0
        return self._frame()

    def _skip_frames(self, action: ale_py.Action) -> int:
        """Emulate one env_step, leave its last two screens in ``_screens``, return its reward.

        A game that ends inside the skip leaves its last screen in both places: pooling it with a
        screen of the step before would show what was never there together.
        """
        reward = 0
        last = self._config.frame_skip - 1
        for index in range(last + 1):
            reward += self.emulator.act(action)
            if self.emulator.game_over():
                break
            if index == last - 1:
                self._read_screen(1)
        self._read_screen(0)
        if index < last or last == 0:
            self._screens[1] = self._screens[0]
        return reward

    def _read_screen(self, slot: int) -> None:
        if self._config.grayscale:
            self.emulator.getScreenGrayscale(self._screens[slot])
        else:
            self.emulator.getScreenRGB(self._screens[slot])

    def _frame(self) -> U8:
        pooled = np.maximum(self._screens[0], self._screens[1])
        side = self._config.image_size
        resized = np.asarray(cv2.resize(pooled, (side, side), interpolation=cv2.INTER_AREA))
        frame: U8 = resized.reshape(side, side, -1).transpose(2, 0, 1)  # [C, H, W]
        return frame


def _load_emulator(
    game: str, config: AtariConfig, seed: int
) -> tuple[ale_py.ALEInterface, np.random.Generator]:
    """Return a seeded emulator with the game loaded, and the generator of its no-op counts."""
    rom_path = _find_rom(game)
    rng = np.random.default_rng(seed)
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    emulator = ale_py.ALEInterface()
    emulator.setFloat("repeat_action_probability", config.sticky_action_probability)
    emulator.setInt("random_seed", int(rng.integers(2**31)))
    # The time limit is counted in env_steps by AtariGame; the emulator's own, in frames and with
    # the no-ops counted in, would cut a 27 000 step episode a few steps early.
    emulator.setInt("max_num_frames_per_episode", 0)
    emulator.loadROM(rom_path)
    return emulator, rng


def _find_rom(game: str) -> Path:
    try:
        rom_path = roms.get_rom_path(game)
    except OSError as error:
        raise ValueError(
            f"the ROM of {game} cannot be read ({error}); reinstall ale-py, "
            "or correct or unset ALE_ROMS_DIR"
        ) from error
    if rom_path is None:
        raise ValueError(f"ale-py has no ROM named {game}; choose another game")
    return rom_path
