"""Which environments there are: from an id to gymnasium's entry, or to one line about the id.

The only place that knows which ids exist. ``package:Some-v0`` imports ``package`` first, so that it
can register its environments; ``MinAtar/*`` is registered on demand, since importing the
package takes two seconds.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable
from typing import NamedTuple

import ale_py
import gymnasium
from gymnasium.envs.registration import EnvSpec as GymEnvSpec

from efficientzero.config import closest
from efficientzero.envs.errors import raised, reraise_ctrl_c

ATARI_ENTRY_POINT = "ale_py.env:AtariEnv"
_MINATAR = "MinAtar/"
_WITHOUT_PREFIX = ("gymnasium", "ale_py", "minatar")
"""Packages whose environments are known without ``package:`` before the id."""
_EXTRAS = {"gymnasium.envs.box2d": "control", "gymnasium.envs.mujoco": "control"}
"""Packages of environments whose libraries ``make setup-<extra>`` installs."""


def look_up(env_id: str, *, others: Iterable[str] = ()) -> GymEnvSpec:
    """Find a registered environment by its id.

    Args:
        env_id: its id, after ``package:`` where a package registers it.
        others: ids to propose as well where there is none of this id.

    Raises:
        ValueError: in one line, why there is none and what to do.
    """
    gymnasium.register_envs(ale_py)
    if env_id.startswith(_MINATAR):
        _register_minatar()
    package, _, name = env_id.rpartition(":")
    if package:
        _import(package)
    try:
        registered = gymnasium.spec(name)
    except gymnasium.error.Error as error:
        nearest = ", ".join(
            _with_prefix(id_, package) for id_ in _nearest_ids(name, others)
        ) or ", ".join(["CartPole-v1", "ALE/Pong-v5", *others])
        raise ValueError(f"there is no such environment; try {nearest}") from error
    entry = registered.entry_point
    if isinstance(entry, str) and entry != ATARI_ENTRY_POINT:  # games are built without it
        _import(entry.partition(":")[0])
    return registered


def cannot_build(error: Exception, entry_point: object = None) -> ValueError:
    """Return the line for what gymnasium says where something is missing."""
    extra = _extra_of(entry_point)
    if extra is not None:
        return ValueError(f"its libraries are not installed: make setup-{extra}")
    reason = " ".join(str(error).split())
    return ValueError(
        f"gymnasium cannot build it: {reason}; install what is missing or choose another"
    )


def _import(module: str) -> None:
    try:
        importlib.import_module(module)
    except gymnasium.error.Error as error:
        raise cannot_build(error, module) from error
    except ModuleNotFoundError as error:
        if _extra_of(module) is not None:
            raise cannot_build(error, module) from error
        missing = error.name or module
        if f"{module}.".startswith(f"{missing}."):
            what = f"cannot import {module} ({error}); install it"
        else:
            what = f"importing {module} {raised(error)}; install {missing}"
        raise ValueError(f"{what}, or name its folder in PYTHONPATH") from error
    except BaseException as error:
        reraise_ctrl_c(error)
        raise ValueError(f"importing {module} {raised(error)}") from error


def _extra_of(entry_point: object) -> str | None:
    """Return the extra that has the libraries of an entry point, or of its module."""
    package = ".".join(str(entry_point).split(".")[:3])
    return _EXTRAS.get(package)


def _with_prefix(env_id: str, package: str) -> str:
    """Return a known id as it must be given, where ``package`` was named."""
    known = gymnasium.registry.get(env_id)
    if known is None or not package:
        return env_id
    entry = known.entry_point
    module = entry if isinstance(entry, str) else getattr(entry, "__module__", "")
    owner = re.split("[.:]", module)[0]
    return env_id if owner in _WITHOUT_PREFIX else f"{package}:{env_id}"


def _register_minatar() -> None:
    try:
        from minatar.gym import register_envs  # noqa: PLC0415
    except ImportError as error:
        raise ValueError(f"cannot import minatar ({error}); pip install minatar") from error
    if not any(known.startswith(_MINATAR) for known in gymnasium.registry):
        register_envs()


def _nearest_ids(env_id: str, others: Iterable[str]) -> list[str]:
    """Return up to three known ids whose bare name (no namespace, no version) is close.

    Only one where the name is a known one: then namespace or version was wrong.
    """
    asked = _parts_of(env_id)
    ids_by_name: dict[str, str] = {}
    # In ascending order of preference: the newest version, no namespace (others need further
    # packages), ale-py's current ids, the namespace that was asked for.
    for known in sorted([*gymnasium.registry, *others], key=lambda id_: _preference(id_, asked)):
        ids_by_name[_parts_of(known).name] = known
    same = ids_by_name.get(asked.name)
    close = [asked.name] if same else closest(asked.name, ids_by_name, count=3)
    return [ids_by_name[name] for name in close]


class _IdParts(NamedTuple):
    """``ALE/Pong-v5``: ALE, pong, 5."""

    namespace: str
    name: str
    version: int


def _parts_of(env_id: str) -> _IdParts:
    namespace, _, rest = env_id.rpartition("/")
    numbered = re.fullmatch(r"(.+?)[-_ ]?v(\d+)", rest.strip(), re.IGNORECASE)
    name, version = (numbered[1], int(numbered[2])) if numbered else (rest.strip(), -1)
    return _IdParts(namespace, name.lower(), version)


def _preference(env_id: str, asked: _IdParts) -> tuple[bool, bool, bool, int]:
    known = _parts_of(env_id)
    is_asked = bool(asked.namespace) and known.namespace.lower() == asked.namespace.lower()
    return is_asked, known.namespace == "ALE", not known.namespace, known.version
