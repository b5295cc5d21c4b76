"""The errors of environments: those that break the contract, and whatever they raise themselves.

``batch`` turns what an environment raises into one error, whose traceback begins where the
environment's own code does.
"""

from __future__ import annotations

import importlib
import signal
import traceback
from pathlib import Path
from types import TracebackType
from typing import ClassVar

import gymnasium

from efficientzero.process.runtime import PlainError
from efficientzero.schema import EnvSteps

_BETWEEN = (
    Path(__file__).parent,
    Path(importlib.__file__).parent,
    *(Path(gymnasium.__file__).parent / part for part in ("wrappers", "envs/registration.py")),
    Path(gymnasium.__file__).parent / "core.py",
)
"""Files and folders through which a call goes on its way to an environment."""


class EnvError(PlainError, ValueError):
    """An environment failed; the message names it and what it did.

    Raised by a batch's ``step``, it carries what the other environments returned.
    """

    steps: EnvSteps | None = None
    """All rows of the step; those of ``failed_rows`` mean nothing."""
    failed_rows: tuple[int, ...] = ()

    @property
    def headline(self) -> str:
        """The first line of the message."""
        return str(self).partition("\n")[0]


class EnvContractError(EnvError):
    """An environment returned something wrong; it would do so again."""

    is_permanent: ClassVar[bool] = True


class EnvCrashed(EnvError):
    """An environment raised something or called ``sys.exit``; the message has the traceback."""


def crash_of(error: BaseException, where: str) -> EnvCrashed:
    """Return what an environment raised as one error.

    Args:
        error: anything: pyo3's PanicException, for one, is no Exception.
        where: the environment and what it was asked to do.
    """
    traced = _own_frames(error.__traceback__)
    block = "".join(traceback.format_exception(type(error), error, traced)).rstrip()
    return EnvCrashed(f"{where} {raised(error)}\n{block}")


def reraise_ctrl_c(error: BaseException) -> None:
    """Raise a KeyboardInterrupt that may be a person's; one that is the environment's passes.

    Where a process takes SIGINT by a handler, as every role does, Python raises none by itself.
    """
    is_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if isinstance(error, KeyboardInterrupt) and is_default:
        raise error


def raised(error: BaseException) -> str:
    """Return in one line what was raised, and in which line of which file."""
    text = " ".join(str(error).split())
    if isinstance(error, SystemExit):
        what = f"called sys.exit({'' if error.code is None else repr(error.code)})"
    else:
        what = f"raised {type(error).__name__}" + f": {text}" * bool(text)
    traced = traceback.extract_tb(_own_frames(error.__traceback__))
    frames = [frame for frame in traced if not frame.filename.startswith("<")]  # frozen: no file
    if not frames or _is_between(frames[-1].filename):
        return what
    return f"{what} ({Path(frames[-1].filename).name}:{frames[-1].lineno})"


def _own_frames(traced: TracebackType | None) -> TracebackType | None:
    """Leave out the calls that lead from here through gymnasium's wrappers to the environment."""
    while traced is not None and traced.tb_next is not None:
        if not _is_between(traced.tb_frame.f_code.co_filename):
            break
        traced = traced.tb_next
    return traced


def _is_between(filename: str) -> bool:
    """Return whether a file belongs to us or gymnasium's wrappers, not to an environment."""
    path = Path(filename)
    return any(place == path or place in path.parents for place in _BETWEEN)
