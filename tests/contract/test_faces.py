"""What the import contracts of pyproject.toml refuse, tried on a copy; and that faces are used."""

import ast
import functools
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("mcts_cpp", "efficientzero", "replay", "actor", "reanalyzer", "learner", "deploy")


@functools.cache
def imported_modules(path: Path) -> set[str]:
    """Return the modules that a file's `from X import ...` name."""
    tree = ast.parse(path.read_text())
    return {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module}


def test_outsiders_import_faces():
    """A room whose ``__init__`` exports names is imported by that name, not by its modules'."""
    files = [f for p in (*PACKAGES, "benchmarks") for f in (ROOT / p).rglob("*.py")]
    faces = {}
    for face in (f for f in files if f.name == "__init__.py"):
        room = ".".join(face.parent.relative_to(ROOT).parts)
        faces[room] = {
            m for m in imported_modules(face) if m.startswith(f"{room}.") and "._" not in m
        }
    assert sum(map(bool, faces.values())) > 15

    wrong = []
    for file in files:
        importer = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for room, hidden in faces.items():
            if not importer.startswith(f"{room}."):
                wrong += [(importer, module) for module in imported_modules(file) & hidden]
    assert wrong == []


@pytest.mark.slow
def test_the_lint_refuses_circles_and_files_without_a_place(tmp_path):
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__", "*.so")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)

    def lint() -> str:
        command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
        )
        assert (done.returncode == 0) == (" 0 broken" in done.stdout), done.stdout + done.stderr
        return done.stdout

    assert " 0 broken" in lint()
    pace = tmp_path / "learner" / "pacing" / "pace.py"
    pace.write_text("import learner.pacing.governor\n" + pace.read_text())
    (tmp_path / "replay" / "new_file.py").write_text("")
    said = lint()
    assert "No circles, in any package BROKEN" in said
    assert "Replay's rooms BROKEN" in said
    assert "new_file" in said
