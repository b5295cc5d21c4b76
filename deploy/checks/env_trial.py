"""Tries a run's environment in a separate process before anything is started.

Called by ``prepare``. Whatever is found to be wrong is one line, a constructor that hangs too.
gymnasium and the environment's package are imported in that process only.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import uuid
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from deploy.checks.preflight import PreflightError
from deploy.supervising import LAUNCH_MARK, end_leftovers, with_import_path
from efficientzero.config import Config, EnvConfig
from efficientzero.process.runtime import LAUNCHER_PID_VARIABLE
from efficientzero.schema import EnvFacts

_KILL_WAIT_S = 5.0
_DIM = 64
"""Pixels that never are brighter than this share of 255 are said to be dark."""
_known: dict[str, EnvFacts] = {}
"""By environment: a grid has many cells of one."""


def env_facts(config: EnvConfig, *, limit_s: float) -> EnvFacts:
    """Build, reset and step the environment in a separate process; return what it is.

    Args:
        config: the task.
        limit_s: seconds that all of it may take.

    Raises:
        PreflightError: in one line, why this environment cannot be used and what to do.
    """
    text = json.dumps(asdict(config), sort_keys=True)
    if text not in _known:
        _known[text] = _tried(config.id, text, limit_s)
    return _known[text]


def env_notes(config: Config, facts: EnvFacts) -> list[tuple[str, str]]:
    """Return what a person should know of the environment before the run, as name and text."""
    spec, env = facts.spec, config.env
    looks = (
        f"images of {spec.frame_shape[1]} x {spec.frame_shape[2]}, {spec.frame_shape[0]} channels"
        if spec.is_image
        else f"vectors of {spec.frame_shape[0]}"
    )
    acts = f"{spec.num_actions} actions"
    if spec.action_kind == "continuous":
        acts = f"continuous actions of {spec.action_size} number{'s' * (spec.action_size > 1)}"
    notes = [("env", f"{spec.env_id}: {looks}, {acts}")]
    if not facts.time_limit and not (env.max_episode_steps and env.final_eval_max_episode_steps):
        notes.append(
            (
                "limit",
                f"{spec.env_id} declares no time limit: evaluation's episodes are cut after 1,000 "
                "env_steps; others: --env.max-episode-steps, --env.final-eval-max-episode-steps",
            )
        )
    if spec.has_legal_actions:
        notes.append(
            (
                "actions",
                f"{spec.env_id} says which actions are legal, and no other is played "
                "(--env.legal-actions off: ignore it)",
            )
        )
    if facts.crash:
        notes.append(("crash", f"in a first trial, not in a second: {facts.crash}"))
    if facts.largest_pixel < _DIM:
        notes.append(
            (
                "pixels",
                f"at most {facts.largest_pixel} of 255 is declared, so the network sees at most "
                f"{facts.largest_pixel / 255:.2f}: scale them to 0..255",
            )
        )
    if _is_beyond(config, facts.largest_reward):
        notes.append(("rewards", f"{facts.largest_reward:g} was seen; {_reach(config)}"))
    return notes


def check_rewards(config: Config, facts: EnvFacts) -> None:
    """Refuse rewards of which most are more than the network can express.

    Raises:
        PreflightError: clip, scale, or take a larger support.
    """
    if _is_beyond(config, facts.mean_reward):
        raise PreflightError(
            f"env.id={config.env.id}: its rewards are {facts.mean_reward:g} in the mean; "
            + _reach(config)
        )


def _is_beyond(config: Config, reward: float) -> bool:
    transformed = reward
    if config.network.value_transform == "sqrt":
        # The network's h(x), MuZero, appendix F; it is in torch there.
        transformed = math.sqrt(reward + 1) - 1 + 0.001 * reward
    is_bounded = config.network.categorical_values and not config.env.clip_rewards
    return is_bounded and transformed > config.network.support_bound


def _reach(config: Config) -> str:
    return (
        f"network.support_bound {config.network.support_bound} cannot express that much: scale "
        "rewards, set --env.clip-rewards, or take a larger bound"
    )


def _tried(env_id: str, text: str, limit_s: float) -> EnvFacts:
    with tempfile.TemporaryFile() as answers, tempfile.TemporaryFile() as output:
        code = _run(text, limit_s, answers.fileno(), output.fileno())
        answers.seek(0)
        found: dict[str, Any] = {}
        for line in answers.read().decode(errors="replace").splitlines():
            with suppress(json.JSONDecodeError):  # a process that was killed in the middle of one
                found |= json.loads(line)
        output.seek(0)
        printed = output.read().decode(errors="replace").split("\n")
    if "error" in found:
        raise PreflightError(found["error"])
    if "facts" in found:
        return EnvFacts.from_json(found["facts"])
    doing = found.get("now", "its import")
    if code is None:
        raise PreflightError(
            f"env.id={env_id}: {doing} did not end; a run gives the environment {limit_s:g} s to "
            "start (--cluster.env-check-seconds)"
        )
    how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    last = next((f": {line.strip()}" for line in reversed(printed) if line.strip()), "")
    raise PreflightError(f"env.id={env_id}: its process {how} in {doing}{last}")


def _run(text: str, limit_s: float, answers: int, output: int) -> int | None:
    """Run the trial and end all of its processes; return its exit code, None at the time limit."""
    mark = f"trial-{uuid.uuid4().hex}"
    mine = {LAUNCHER_PID_VARIABLE: str(os.getpid()), LAUNCH_MARK: mark}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "efficientzero.envs.trial", text],
        env=with_import_path({**os.environ, **mine}),
        stdin=subprocess.DEVNULL,
        stdout=answers,
        stderr=output,
        start_new_session=True,
    )
    try:
        return process.wait(limit_s)
    except subprocess.TimeoutExpired:
        return None
    finally:
        # Its whole session: an environment may have started a simulator, also in a session of the
        # simulator's own.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(_KILL_WAIT_S)
        end_leftovers(mark, grace_s=0.0)
