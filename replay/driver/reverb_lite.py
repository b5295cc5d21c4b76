"""Reverb's client, writer, sampler and server without importing TensorFlow.

Reverb's extension needs one shared library of TensorFlow and three generated protobuf modules; the
``tensorflow`` package itself (3 s and 400 MB in every process) serves only its dataset and
signature helpers, which are not used here. Every other module of ``replay`` imports Reverb through
``load``; nothing outside ``replay`` may import Reverb.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
import importlib.machinery
import importlib.util
import os
import ssl  # noqa: F401  before TensorFlow's library, whose BoringSSL would be taken for OpenSSL
import sys
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

_loading = threading.Lock()
_DTYPE_NAMES = ("uint64", "float64", "int64", "int32", "float32")


class TrajectoryWriter(Protocol):
    """Reverb's stream into its tables; only ``flush`` and ``end_episode`` wait for the server."""

    history: dict[str, Any]  # column name to its cells; index with lists of negative numbers

    def configure(
        self, path: tuple[str, ...], *, num_keep_alive_refs: int, max_chunk_length: int
    ) -> None:
        """Set a column's chunk length, before its first cell."""

    def append(self, data: dict[str, Any]) -> None:
        """Add a cell to the named columns."""

    def create_item(self, table: str, priority: float, trajectory: dict[str, Any]) -> None:
        """Send an item that refers to cells; crashes the process when a column has none."""

    def flush(self, block_until_num_items: int, *, timeout_ms: int) -> None:
        """Wait until all but that many items are confirmed; 0 ms is no limit."""

    def end_episode(self, *, timeout_ms: int) -> None:
        """Wait until all items are confirmed and forget the history; 0 ms is no limit."""

    def close(self) -> None:
        """Drop unconfirmed items."""


class Client(Protocol):
    """Reverb's channel to a server; making one neither connects nor waits."""

    def trajectory_writer(
        self, num_keep_alive_refs: int, *, validate_items: bool
    ) -> TrajectoryWriter:
        """Open a stream; waits without limit if items are to be validated."""

    def mutate_priorities(
        self,
        table: str,
        updates: dict[int, float] | None = None,
        deletes: list[int] | None = None,
    ) -> None:
        """Change priorities and delete items by item key; waits without limit."""

    def checkpoint(self) -> str:
        """Write all tables to the server's disk and return the folder; waits without limit."""

    def reset(self, table: str) -> None:
        """Empty a table and its counters."""

    def server_info(self, timeout: int) -> dict[str, Any]:
        """Return each table's counters; the timeout is in whole seconds."""


class LowLevelSampler(Protocol):
    """Reverb's stream of samples; drop it to cancel the stream."""

    def GetNextTrajectory(self) -> list[Any]:  # noqa: N802
        """Return [key, probability, table_size, priority, times_sampled, *columns]; no limit."""


class Reverb(Protocol):
    """The parts of Reverb that ``replay`` uses; see Reverb's own documentation for them."""

    Client: Callable[[str], Client]
    Server: Any
    Table: Any
    selectors: Any
    rate_limiters: Any
    checkpointers: Any
    DeadlineExceededError: type[Exception]


def load() -> Reverb:
    """Import Reverb once per process and return its names.

    Raises:
        ImportError: the real ``tensorflow`` or ``reverb`` package is imported already, so that two
            copies of Reverb's extension would be loaded.
    """
    with _loading:  # a thread must not see the modules of another thread's unfinished import
        loaded = sys.modules.get("reverb") or _import_reverb()
    if not hasattr(loaded, "loaded_without_tensorflow"):
        raise ImportError("the full reverb package is imported already, wanted reverb_lite first")
    return cast(Reverb, loaded)


def new_sampler(
    client: Client, table: str, *, max_in_flight: int, num_samples: int = -1
) -> LowLevelSampler:
    """Return a sampler of ``table`` that asks for up to ``max_in_flight`` items ahead.

    It ends after ``num_samples``; -1: never.
    """
    sampler = vars(client)["_client"].NewSampler(table, num_samples, max_in_flight)
    return cast(LowLevelSampler, sampler)


@functools.cache
def table_checkpoint() -> Any:  # noqa: ANN401  a generated class
    """Return the class of the messages in a snapshot's file of tables.

    Takes 5 ms and loads none of the libraries.
    """
    with _loading, _posing_as_tensorflow(_package_dir("tensorflow")):
        is_loaded = "reverb" in sys.modules
        if not is_loaded:
            _hollow("reverb", [str(_package_dir("reverb"))])
        try:
            messages = importlib.import_module("reverb.cc.checkpointing.checkpoint_pb2")
        finally:
            if not is_loaded:
                _forget("reverb")
    return messages.PriorityTableCheckpoint


def _import_reverb() -> types.ModuleType:
    tensorflow_dir, reverb_dir = _package_dir("tensorflow"), _package_dir("reverb")
    # The extension reads numpy's C API without importing it, and numpy 2 crashes it.
    if not np.__version__.startswith("1."):
        raise ImportError(f"Reverb needs numpy 1, got numpy {np.__version__}")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")  # no start message on stderr
    library = tensorflow_dir / "libtensorflow_framework.so.2"
    ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    try:
        with _posing_as_tensorflow(tensorflow_dir):
            return _import_reverb_modules(reverb_dir)
    except BaseException:
        _forget("reverb")
        raise


@contextlib.contextmanager
def _posing_as_tensorflow(tensorflow_dir: Path) -> Iterator[None]:
    """Put empty modules where Reverb imports TensorFlow; only ``*_pb2`` modules are real."""
    if "tensorflow" in sys.modules:
        raise ImportError("tensorflow is imported already, wanted replay.driver.reverb_lite first")
    try:
        _pose_as_tensorflow(tensorflow_dir)
        yield
    finally:
        # Other libraries (wandb) check whether tensorflow is imported: remove the modules again.
        _forget("tensorflow")


def _pose_as_tensorflow(tensorflow_dir: Path) -> None:
    tensor_spec = type("TensorSpec", (), {})
    root = _hollow("tensorflow", [str(tensorflow_dir)])
    compat = [_hollow("tensorflow.compat", []), _hollow("tensorflow.compat.v1", [])]
    for module in (root, compat[1]):
        vars(module).update(TensorSpec=tensor_spec, Tensor=object)
        vars(module).update({name: name for name in _DTYPE_NAMES})
    for name in ("python", "python.framework", "python.saved_model"):
        _hollow(f"tensorflow.{name}", [])
    _hollow("tensorflow.python.framework.tensor_spec", []).__dict__["TensorSpec"] = tensor_spec
    _hollow("tensorflow.python.saved_model.nested_structure_coder", [])


def _import_reverb_modules(reverb_dir: Path) -> types.ModuleType:
    root = _hollow("reverb", [str(reverb_dir)])
    root.__dict__["loaded_without_tensorflow"] = True
    path = str(reverb_dir / "libpybind.so")
    loader = importlib.machinery.ExtensionFileLoader("reverb.libpybind", path)
    spec = importlib.util.spec_from_loader("reverb.libpybind", loader)
    if spec is None:
        raise ImportError(f"no module spec for {path}")
    extension = importlib.util.module_from_spec(spec)
    loader.exec_module(extension)
    for name in ("libpybind", "pybind"):
        sys.modules[f"reverb.{name}"] = extension
        setattr(root, name, extension)
    # client.py imports these two names from a module that needs TensorFlow; they are never called.
    structured_writer = _hollow("reverb.structured_writer", [])
    vars(structured_writer).update(Config=object, StructuredWriter=object)
    client = importlib.import_module("reverb.client")
    errors = importlib.import_module("reverb.errors")
    server = importlib.import_module("reverb.server")
    vars(root).update(
        Client=client.Client,
        Server=server.Server,
        Table=server.Table,
        DeadlineExceededError=errors.DeadlineExceededError,
        selectors=importlib.import_module("reverb.item_selectors"),
        rate_limiters=importlib.import_module("reverb.rate_limiters"),
        checkpointers=importlib.import_module("reverb.platform.default.checkpointers"),
    )
    return root


def _hollow(name: str, path: Sequence[str]) -> types.ModuleType:
    """Register an empty package; one with a ``path`` finds its real submodules there."""
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
    module.__path__ = list(path)
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)
    return module


def _forget(package: str) -> None:
    # A copy first, which no thread that imports something meanwhile can disturb (wandb has some).
    for name in list(sys.modules):
        if name == package or name.startswith(f"{package}."):
            del sys.modules[name]


def _package_dir(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"{name} is not installed; wanted for the replay service")
    return Path(spec.submodule_search_locations[0])
