"""Several environments that are reset and stepped together, without autoreset.

The factory builds one batch per actor or evaluator from single environments (Atari, gymnasium).
Nothing here knows a game, a network or a replay. Shapes: G = len(indices), *frame as in EnvSpec.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from efficientzero.envs.contract import (
    ContractViolation,
    check_frame,
    check_step,
    checked_mask,
    checked_player,
)
from efficientzero.envs.errors import EnvContractError, EnvError, crash_of, reraise_ctrl_c
from efficientzero.envs.hang_watch import Call
from efficientzero.schema import F32, I64, U8, Bool, EnvSpec, EnvSteps, Frames, Observed

log = logging.getLogger(__name__)


class EnvStep(NamedTuple):
    """What one environment answers to one action; ``terminated`` excludes ``truncated``."""

    frame: Frames  # [*frame]
    reward: float  # raw score
    terminated: bool
    truncated: bool
    game_over: bool  # the next reset starts a new game


class SingleEnv(Protocol):
    """One environment with discrete actions 0..num_actions - 1, seeded when it was built.

    Classes that derive from this one begin with its defaults: one player, to whom every action is
    always legal.
    """

    frame_shape: tuple[int, ...]  # (C, H, W) or (D,)
    frame_dtype: str  # "uint8" or "float32"
    num_actions: int  # 0: they are continuous
    time_limit: int  # env_steps after which an episode is cut; 0: never
    action_kind: str = "discrete"  # the next four as in ``EnvSpec``
    action_size: int = 0
    has_legal_actions: bool = False
    num_players: int = 1
    # Of the state that the newest frame shows; read only where the environment has them:
    legal_actions: Bool | None = None  # [A]
    to_play: int = 0

    def reset(self) -> Frames:
        """Start the next episode and return its first frame [*frame]."""

    def step(self, action: Any) -> EnvStep:  # noqa: ANN401  an index, or f32 [X]
        """Take one env_step; a continuous action is f32 [X] in -1..1."""

    def close(self) -> None:
        """Free what the environment holds."""


class EnvBatch(Protocol):
    """Environments 0..num_envs - 1; an ended one is reset by the caller before its next step.

    When a step ends an episode its frame is the episode's real last one. ``terminated`` and
    ``truncated`` are never both set: a task that ends exactly at its time limit has terminated.
    ``game_over`` says that the next reset starts a new game, at a time limit too; it is false at a
    mere life loss, so the score of a game is the sum of rewards up to ``game_over``.
    """

    spec: EnvSpec
    num_envs: int

    def reset(self, indices: Sequence[int]) -> Observed:
        """Start the next episode of these G environments; return what they show at first."""

    def step(self, indices: Sequence[int], actions: NDArray[Any]) -> EnvSteps:
        """Take one env_step in each of these environments, ``actions[g]`` in ``indices[g]``.

        Actions are integers [G], or f32 [G, X] in -1..1 where ``spec`` says continuous.

        Raises:
            ValueError: an environment has ended (or was never reset), or an action is unknown.
            EnvError: an environment failed; the others have stepped, and the error has their steps.
        """

    def close(self) -> None:
        """Close every environment."""

    def oldest_call(self) -> Call | None:
        """Return the call of an environment that has been running longest; from any thread."""


class SequentialEnvBatch:
    """An EnvBatch that steps its environments one after the other in the caller's thread.

    The boundary: what an environment returns is checked here, and what it raises becomes an
    ``EnvError`` that names it.
    """

    def __init__(self, spec: EnvSpec, envs: Sequence[SingleEnv]) -> None:
        self.spec = spec
        self.num_envs = len(envs)
        self._dtype = np.dtype(spec.frame_dtype)
        self._envs = list(envs)
        is_continuous = spec.action_kind == "continuous"
        self._action_shape = (spec.action_size,) if is_continuous else ()
        self._entry: Callable[[Any], int | F32] = np.asarray if is_continuous else int
        self._needs_reset = [True] * len(envs)
        self._num_steps = [0] * len(envs)  # of the running episode
        # Of the newest frame of each environment, where the environment has them.
        self._legal_actions: Bool | None = None  # [E, A]
        self._to_play: U8 | None = None  # [E]
        if spec.has_legal_actions:
            self._legal_actions = np.zeros((len(envs), spec.num_actions), np.bool_)
        if spec.num_players > 1:
            self._to_play = np.zeros(len(envs), np.uint8)
        self._shows_more = spec.has_legal_actions or spec.num_players > 1
        # By environment: since when it has been called, and what for.
        self._calls: list[tuple[float, str] | None] = [None] * len(envs)

    def reset(self, indices: Sequence[int]) -> Observed:
        """Start the next episode of these G environments; return what they show at first."""
        frames = self._empty_frames(len(indices))
        for row, index in enumerate(indices):
            frames[row] = self._reset(index)
        return self._observed(indices, frames)

    def step(self, indices: Sequence[int], actions: NDArray[Any]) -> EnvSteps:
        """Take one env_step in each of these environments, ``actions[g]`` in ``indices[g]``."""
        self._check_step(indices, actions)
        steps = EnvSteps(
            observed=Observed(self._empty_frames(len(indices))),
            rewards=np.zeros(len(indices), np.float32),
            terminated=np.zeros(len(indices), np.bool_),
            truncated=np.zeros(len(indices), np.bool_),
            game_over=np.zeros(len(indices), np.bool_),
        )
        columns = (steps.observed.frames, *steps[1:])
        failures: dict[int, EnvError] = {}
        for row, index in enumerate(indices):
            try:
                step = self._step(index, self._entry(actions[row]))
            except EnvError as error:
                failures[row] = error
                continue
            for column, entry in zip(columns, step, strict=True):
                column[row] = entry
        if self._shows_more:
            steps = steps._replace(observed=self._observed(indices, steps.observed.frames))
        if failures:
            first = next(iter(failures.values()))
            first.steps, first.failed_rows = steps, tuple(failures)
            raise first
        return steps

    def close(self) -> None:
        """Close every environment; one that fails at it is named in the log."""
        for number, env in enumerate(self._envs):
            try:
                with self._call(number, "close"):
                    env.close()
            except BaseException as error:  # often what comes after a crash
                log.warning("%s", self._failure(error, "close").headline)

    def _reset(self, index: int) -> Frames:
        self._needs_reset[index] = True
        try:
            with self._call(index, "reset"):
                frame = self._envs[index].reset()
            check_frame(frame, self.spec.frame_shape, self._dtype)
            self._note_newest(index)
        except BaseException as error:
            raise self._failure(error, "reset") from None
        self._needs_reset[index], self._num_steps[index] = False, 0
        return frame

    def _step(self, index: int, action: int | F32) -> EnvStep:
        self._num_steps[index] += 1
        self._calls[index] = (time.monotonic(), "step")  # no context: 50,000 a second
        try:
            step = self._envs[index].step(action)
            check_step(step, self.spec.frame_shape, self._dtype)
            if self._shows_more:
                self._note_newest(index, has_ended=step.terminated)
        except BaseException as error:
            self._needs_reset[index] = True
            what = f"step {self._num_steps[index]} of an episode"
            raise self._failure(error, what) from None
        finally:
            self._calls[index] = None
        self._needs_reset[index] = step.terminated or step.truncated
        return step

    @contextlib.contextmanager
    def _call(self, index: int, what: str) -> Iterator[None]:
        self._calls[index] = (time.monotonic(), what)
        try:
            yield
        finally:
            self._calls[index] = None

    def oldest_call(self) -> Call | None:
        """Return the call of an environment that has been running longest; from any thread."""
        calls = [(*call, index) for index, call in enumerate(self._calls) if call is not None]
        if not calls:
            return None
        since_s, what, index = min(calls)
        if what == "step":
            what = f"step {self._num_steps[index]} of an episode"
        return Call(f"env.id={self.spec.env_id}: {what}", since_s)

    def _failure(self, error: BaseException, what: str) -> EnvError:
        """Return the error that names the environment."""
        reraise_ctrl_c(error)
        where = f"env.id={self.spec.env_id}: {what}"
        if isinstance(error, ContractViolation):
            return EnvContractError(f"{where}: {error}")
        return crash_of(error, where)

    def _note_newest(self, index: int, *, has_ended: bool = False) -> None:
        """Check and keep legal actions and the player to move, where the environment has them."""
        env = self._envs[index]
        if self._legal_actions is not None:
            self._legal_actions[index] = checked_mask(
                env.legal_actions, self.spec.num_actions, has_ended=has_ended
            )
        if self._to_play is not None:
            self._to_play[index] = checked_player(env.to_play)

    def _observed(self, indices: Sequence[int], frames: Frames) -> Observed:
        rows, legal, to_play = list(indices), self._legal_actions, self._to_play
        return Observed(
            frames,
            None if legal is None else legal[rows],
            None if to_play is None else to_play[rows],
        )

    def _empty_frames(self, num_frames: int) -> Frames:
        return np.empty((num_frames, *self.spec.frame_shape), self.spec.frame_dtype)

    def _check_step(self, indices: Sequence[int], actions: NDArray[Any]) -> None:
        wanted_shape = (len(indices), *self._action_shape)
        if actions.shape != wanted_shape:
            raise ValueError(f"actions: got shape {actions.shape}, wanted {wanted_shape}")
        if len(set(indices)) != len(indices):
            raise ValueError(f"indices: got {list(indices)}, wanted each environment at most once")
        ended = [index for index in indices if self._needs_reset[index]]
        if ended:
            raise ValueError(f"environments {ended} have ended; reset them before the next step")
        if self._action_shape:
            if not (np.abs(actions) <= 1.0).all():  # nan compares false
                raise ValueError("actions: got numbers outside of -1..1, wanted none")
            return
        unknown = actions[(actions < 0) | (actions >= self.spec.num_actions)]
        if unknown.size:
            raise ValueError(f"actions: got {unknown[0]}, wanted 0..{self.spec.num_actions - 1}")
        if self._legal_actions is None:
            return
        for index, action in zip(indices, actions.tolist(), strict=True):
            legal = self._legal_actions[index]
            if not legal[action]:
                wanted = legal.nonzero()[0].tolist()
                raise ValueError(f"actions: got {action}, which is illegal now, wanted {wanted}")


def random_actions(
    spec: EnvSpec, generator: np.random.Generator, num: int, legal_actions: Bool | None = None
) -> NDArray[Any]:
    """Return uniformly drawn actions, i64 [num], of the legal ones [num, A] if there are masks.

    Continuous ones are f32 [num, X].
    """
    if spec.action_kind == "continuous":
        return generator.uniform(-1.0, 1.0, (num, spec.action_size)).astype(np.float32)
    if legal_actions is None:
        return generator.integers(spec.num_actions, size=num)
    scores = np.where(legal_actions, generator.random(legal_actions.shape), -1.0)
    actions: I64 = scores.argmax(axis=1)
    return actions
