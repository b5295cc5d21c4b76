"""Builds a batch of environments from an id, or raises one line that says what is wrong.

Atari games (any id of ale-py) get the Atari protocol, ``ADAPTERS`` lists the environments of this
project, everything else comes from gymnasium as it is. ``registry`` knows which ids there are.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Literal, Protocol

import gymnasium
from gymnasium.envs.registration import EnvSpec as GymEnvSpec

from efficientzero.config import Config, EnvConfig, EnvKwargs, is_turn_game
from efficientzero.envs.atari.game import AtariGame
from efficientzero.envs.atari.jpeg import JpegFrames
from efficientzero.envs.batch import EnvBatch, SequentialEnvBatch, SingleEnv
from efficientzero.envs.errors import EnvContractError, raised, reraise_ctrl_c
from efficientzero.envs.games import make_turn_game
from efficientzero.envs.games.builders import make_catch, make_two_players, take_no_kwargs
from efficientzero.envs.gym import GymEnv
from efficientzero.envs.registry import ATARI_ENTRY_POINT, cannot_build, look_up
from efficientzero.schema import EnvSpec

Purpose = Literal["training", "evaluation", "final_evaluation"]
"""What environments are made for."""

UNLIMITED_EVALUATION_STEPS = 1_000
"""Env_steps of an evaluation's episode where neither the config nor the environment has a limit."""
MIN_IMAGE_SIDE = 3
"""Pixels; what one 3 x 3 convolution covers."""

log = logging.getLogger(__name__)


class Adapter(Protocol):
    """Builds a ``SingleEnv``; arguments as for ``make_env``."""

    def __call__(
        self, config: EnvConfig, *, seed: int, training: bool, max_episode_steps: int
    ) -> SingleEnv:
        """Return a new environment."""


ADAPTERS: dict[str, Adapter] = {
    "Catch-v0": make_catch,
}
"""Environments that do not come from gymnasium's registry, by id (docs/extend/environment.md)."""


def probe_env_spec(config: EnvConfig) -> EnvSpec:
    """Build one environment, read what it looks like, close it.

    Raises:
        ValueError: in one line, why this environment cannot be used and what to do.
    """
    env = make_env(config, seed=0, training=True, max_episode_steps=0)
    try:
        _find_masks(env, config)
    finally:
        _close(env)
    return spec_of(env, config)


def make_env_batch(
    config: Config,
    *,
    seeds: Sequence[int],
    purpose: Purpose,
    expected: EnvSpec | None = None,
) -> EnvBatch:
    """Build one environment per seed; each episode sequence depends on its own seed only.

    Args:
        config: the task, its time limits, and whether every frame passes through JPEG.
        seeds: one non-negative seed per environment, at least one.
        purpose: decides the time limit; and lost lives end episodes in training alone, where
            the config says so. A limit of 0 means the environment's own. An evaluation's
            episode always has one: ``UNLIMITED_EVALUATION_STEPS`` where there is no other.
        expected: what the run was started with; another host may have another version.

    Raises:
        EnvContractError: the environment is not as ``expected``.
        ValueError: as ``probe_env_spec``, or the config asks for JPEG where frames are no images.
    """
    is_final = purpose == "final_evaluation"
    limit = config.env.final_eval_max_episode_steps if is_final else config.env.max_episode_steps
    envs: list[SingleEnv] = []
    with ExitStack() as refused:
        for seed in seeds:
            training = purpose == "training"
            env = make_env(config.env, seed=seed, training=training, max_episode_steps=limit)
            envs.append(env)
            refused.callback(_close, env)
        _agree_on_masks(envs, config.env, expected)
        spec = spec_of(envs[0], config.env)
        if expected is not None and spec != expected:
            now, before = spec.differences(expected)
            raise EnvContractError(
                f"env.id={spec.env_id}: got {now}, but the run was started with {before}: another "
                "version of its package?"
            )
        if config.compat.jpeg_frames:
            if not spec.is_image:
                raise ValueError(
                    f"compat.jpeg_frames: got frames {spec.frame_shape}, wanted images"
                )
            envs = [JpegFrames(env) for env in envs]
        refused.pop_all()
    return SequentialEnvBatch(spec, envs)


def _find_masks(env: SingleEnv, config: EnvConfig) -> None:
    """Find out whether ``env`` says which actions are legal, which may take its first reset."""
    if not isinstance(env, GymEnv):
        return
    try:
        env.find_masks()
    except BaseException as error:
        reraise_ctrl_c(error)
        raise ValueError(f"env.id={config.id}: reset {raised(error)}") from error


def _agree_on_masks(envs: Sequence[SingleEnv], config: EnvConfig, expected: EnvSpec | None) -> None:
    """Let all environments show legal actions, or none, as the run's first one did."""
    if expected is None:
        _find_masks(envs[0], config)
    has_legal_actions = (expected or envs[0]).has_legal_actions
    for env in envs:
        if isinstance(env, GymEnv):
            env.expect_masks(has_legal_actions=has_legal_actions)


def spec_of(env: SingleEnv, config: EnvConfig) -> EnvSpec:
    """Return what ``env`` looks like."""
    return EnvSpec(
        env_id=config.id,
        frame_shape=env.frame_shape,
        frame_dtype=env.frame_dtype,
        num_actions=env.num_actions,
        num_stacked_frames=config.num_stacked_frames,
        action_kind=env.action_kind,
        action_size=env.action_size,
        has_legal_actions=env.has_legal_actions,
        num_players=env.num_players,
    )


def import_env(config: EnvConfig) -> None:
    """Import what ``make_env`` builds, so that a caller can report which of the two failed.

    Raises:
        ValueError: in one line, what is missing or wrong.
    """
    try:
        if is_turn_game(config.id):
            make_turn_game(config.id)
        elif config.id not in ADAPTERS:
            look_up(config.id, others=ADAPTERS)
    except ValueError as error:
        raise ValueError(f"env.id={config.id}: {error}") from error


def make_env(config: EnvConfig, *, seed: int, training: bool, max_episode_steps: int) -> SingleEnv:
    """Build one environment.

    Args:
        config: the task.
        seed: of its first episode, not negative.
        training: lost lives end episodes where the config says so.
        max_episode_steps: time limit in env_steps; 0: see ``make_env_batch``.

    Raises:
        ValueError: in one line, why this environment cannot be used and what to do.
    """
    try:
        env = _build(config, seed=seed, training=training, max_episode_steps=max_episode_steps)
    except ValueError as error:
        raise ValueError(f"env.id={config.id}: {error}") from error
    spec = spec_of(env, config)
    if spec.is_image and min(spec.frame_shape[1:]) < MIN_IMAGE_SIDE:
        _close(env)
        raise ValueError(
            f"env.id={config.id}: frames are {spec.frame_shape[1]} x {spec.frame_shape[2]} pixels, "
            f"wanted {MIN_IMAGE_SIDE} x {MIN_IMAGE_SIDE} or more (env.atari.image_size for games)"
        )
    return env


def _build(config: EnvConfig, *, seed: int, training: bool, max_episode_steps: int) -> SingleEnv:
    if config.action_repeat < 1:
        raise ValueError(f"action_repeat: got {config.action_repeat}, wanted 1 or more")
    adapter = make_two_players if is_turn_game(config.id) else ADAPTERS.get(config.id)
    if adapter is not None:
        return adapter(config, seed=seed, training=training, max_episode_steps=max_episode_steps)
    registered = look_up(config.id, others=ADAPTERS)
    is_atari = registered.entry_point == ATARI_ENTRY_POINT
    own_limit = _own_limit(registered, config)
    unlimited = 0 if training or own_limit else UNLIMITED_EVALUATION_STEPS
    if is_atari:
        return _build_game(
            registered,
            config,
            seed=seed,
            training=training,
            max_episode_steps=max_episode_steps or own_limit or unlimited,
        )
    env = _make(registered, config.kwargs)
    try:
        return GymEnv(
            env,
            seed=seed,
            max_episode_steps=max_episode_steps or unlimited,
            action_repeat=config.action_repeat,
            own_limit=own_limit,
            reads_masks=config.legal_actions == "auto",
        )
    except BaseException:
        _close(env)
        raise


def _close(env: SingleEnv | gymnasium.Env[Any, Any]) -> None:
    """Close an environment that is not used; it may have started processes."""
    try:
        env.close()
    except BaseException as error:
        reraise_ctrl_c(error)
        log.warning("close %s", raised(error))


def _own_limit(registered: GymEnvSpec, config: EnvConfig) -> int:
    """Return the registered time limit in env_steps, or 0."""
    if registered.entry_point == ATARI_ENTRY_POINT:
        frames: int = registered.kwargs.get("max_num_frames_per_episode", 0)
        return frames // max(1, config.atari.frame_skip)
    return -(-(registered.max_episode_steps or 0) // config.action_repeat)


def _build_game(
    registered: GymEnvSpec,
    config: EnvConfig,
    *,
    seed: int,
    training: bool,
    max_episode_steps: int,
) -> AtariGame:
    take_no_kwargs(config)
    if config.atari.frame_skip < 1:
        raise ValueError(f"atari.frame_skip: got {config.atari.frame_skip}, wanted 1 or more")
    if config.action_repeat > 1:
        raise ValueError(
            f"action_repeat: got {config.action_repeat} for an Atari game, wanted 1 and "
            "env.atari.frame_skip"
        )
    return AtariGame(
        registered.kwargs["game"],
        config.atari,
        seed=seed,
        training=training,
        max_episode_steps=max_episode_steps,
    )


def _make(registered: GymEnvSpec, kwargs: EnvKwargs) -> gymnasium.Env[Any, Any]:
    try:
        arguments: dict[str, Any] = dict(kwargs)
        return gymnasium.make(registered, disable_env_checker=True, **arguments)
    except (gymnasium.error.Error, ImportError) as error:
        raise cannot_build(error, registered.entry_point) from error
    except BaseException as error:
        reraise_ctrl_c(error)
        advice = "; arguments are given by --env.kwargs KEY=VALUE" * isinstance(error, TypeError)
        raise ValueError(f"its constructor {raised(error)}{advice}") from error
