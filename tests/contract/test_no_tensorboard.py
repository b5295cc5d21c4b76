"""wandb is the only logging backend: nothing imports, needs or writes TensorBoard's."""

from __future__ import annotations

import ast
import re
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FORBIDDEN = {"tensorboard", "tensorboardX", "tensorboard_data_server", "tensorboard_logger"}
FOLDERS = (
    *("actor", "benchmarks", "deploy", "efficientzero", "learner", "mcts_cpp"),
    *("reanalyzer", "replay", "tests"),
)


def sources() -> list[Path]:
    return [ROOT / "launch.py", *(path for name in FOLDERS for path in (ROOT / name).rglob("*.py"))]


def imported(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def is_tensorboard(module: str) -> bool:
    return not FORBIDDEN.isdisjoint(module.split("."))


@pytest.mark.slow
def test_no_module_imports_it() -> None:
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in sources()
        for name in imported(ast.parse(path.read_text()))
        if is_tensorboard(name)
    }
    assert len(sources()) > 100
    assert found == set()


@pytest.mark.parametrize(
    "line",
    [
        "import tensorboard",
        "from torch.utils.tensorboard import SummaryWriter",
        "from torch.utils import tensorboard",
    ],
)
def test_the_scan_would_find_it(line: str) -> None:
    assert any(is_tensorboard(name) for name in imported(ast.parse(line)))


def test_the_project_does_not_require_it() -> None:
    required = metadata.requires("efficientzero-distributed") or []
    names = {re.split(r"[^A-Za-z0-9_.-]", line)[0].lower().replace("-", "_") for line in required}
    assert "wandb" in names
    assert names.isdisjoint(FORBIDDEN)


def test_the_tree_holds_no_event_file() -> None:
    folders = [ROOT / name for name in (*FOLDERS, "docs", "protos")]
    assert [path for folder in folders for path in folder.rglob("*tfevents*")] == []
