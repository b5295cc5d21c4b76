"""Where metric rows go: Weights & Biases, or nowhere.

The launcher calls ``resolve_mode`` once; each role calls ``make_tracker`` with the answer. Roles
see the ``Tracker`` protocol only.
"""

from __future__ import annotations

import http.client
import netrc
import os
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from efficientzero.metrics.wandb_tracker import WandbTracker
from efficientzero.process.runtime import StopSignal

_MODES = ("online", "offline", "disabled")
_PROBE_TIMEOUT_S = 4.0


class Tracker(Protocol):
    """Accepts metric rows; never raises and never blocks the caller."""

    def log(self, row: Mapping[str, float]) -> None:
        """Record one row. Keys are ``<role>/<thing>_<unit>``; put the role's axis in it too."""

    def close(self, exit_code: int = 0) -> None:
        """Write the remaining rows, within a bounded time. Rows logged later are lost."""


class NullTracker:
    """Discards every row."""

    def log(self, row: Mapping[str, float]) -> None:
        """Do nothing."""

    def close(self, exit_code: int = 0) -> None:
        """Do nothing."""


class ModeDecision(NamedTuple):
    """How runs are tracked, and why, for the launcher's notice."""

    mode: str  # online, offline or disabled
    reason: str


def make_tracker(
    *,
    mode: str,
    entity: str,
    project: str,
    group: str,
    seed: int,
    run_uid: str,
    role: str,
    index: int,
    config: Mapping[str, Any],
    directory: Path,
    stop: StopSignal,
    incarnation: int = 0,
    tags: Sequence[str] = (),
) -> Tracker:
    """Make the tracker of one process.

    Args:
        mode: result of ``resolve_mode``.
        entity: wandb entity.
        project: wandb project.
        group: wandb group; equal for all processes and seeds of an experiment.
        seed: the run's seed; the run's name is ``<group>_s<seed>``.
        run_uid: random, made once per launch; prefix of the id.
        role: job type, and first part of this process's metric names.
        index: number of this process within its role.
        config: shown with the run.
        directory: ``<directory>/wandb`` receives the files.
        stop: of the process; set when a thread of the tracker fails.
        incarnation: how often this process was started again; each start has a separate id.
        tags: wandb tags of the run, at most 64 characters each.

    Raises:
        ValueError: an unknown mode, or a name that wandb would refuse.
    """
    if mode not in _MODES:
        raise ValueError(f"tracking mode: got {mode!r}, wanted one of {', '.join(_MODES)}")
    if mode == "disabled":
        return NullTracker()
    return WandbTracker(
        mode=mode,
        entity=entity,
        project=project,
        group=group,
        seed=seed,
        run_uid=run_uid,
        role=role,
        index=index,
        config=config,
        directory=directory,
        stop=stop,
        incarnation=incarnation,
        tags=tags,
    )


def resolve_mode(requested: str = "auto") -> ModeDecision:
    """Choose the mode: as asked for, else ``WANDB_MODE``, else online if that can work.

    Takes a few seconds at most and never prompts. wandb itself would prompt without credentials,
    and wait for 33 minutes without a network.

    Raises:
        ValueError: an unknown mode.
    """
    source = "asked for"
    if requested == "auto" and os.environ.get("WANDB_MODE"):
        requested, source = os.environ["WANDB_MODE"], "WANDB_MODE"
        requested = {"run": "online", "dryrun": "offline"}.get(requested, requested)
    if requested in _MODES:
        return ModeDecision(requested, source)
    if requested != "auto":
        raise ValueError(
            f"tracking mode ({source}): got {requested!r}, wanted auto, {', '.join(_MODES)}"
        )
    server = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
    has_credentials, problem = _has_credentials(server)
    if not has_credentials:
        return ModeDecision("offline", f"no wandb credentials (`wandb login` stores them){problem}")
    problem = _problem_of(server)
    if problem:
        return ModeDecision("offline", f"{server} does not answer ({problem})")
    return ModeDecision("online", f"credentials found, {server} answers")


def _has_credentials(server: str) -> tuple[bool, str]:
    """Return whether there are any, and which file could not be read."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True, ""
    host, problem = urlsplit(server).netloc, ""
    for path in (os.environ.get("NETRC"), "~/.netrc", "~/_netrc"):
        try:
            login = netrc.netrc(os.path.expanduser(path)).authenticators(host) if path else None
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError, netrc.NetrcParseError) as error:
            problem = f"; {path} cannot be read: {' '.join(str(error).split())}"
            continue
        if login and login[2]:
            return True, ""
    return False, problem


def _problem_of(server: str) -> str:
    """Make one real round trip: a proxy that accepts but never answers must not count.

    Returns:
        The reason why there was no answer; empty if there was one.
    """
    try:
        request = urllib.request.Request(
            server.rstrip("/") + "/graphql",
            data=b'{"query":"{__typename}"}',
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=_PROBE_TIMEOUT_S):
            return ""
    except urllib.error.HTTPError:
        return ""  # any status is an answer
    except (OSError, http.client.HTTPException, ValueError) as error:
        return " ".join(str(error).split()) or type(error).__name__
