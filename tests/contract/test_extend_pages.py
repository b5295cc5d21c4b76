"""The pages of docs/extend are programs: their Python, joined, runs as it is written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "extend").glob("*.md"))
TIMEOUT_S = 60


def program_of(page: str) -> str:
    """Return the Python blocks of a page, every line where it stands in the page."""
    lines, inside = [], None
    for number, line in enumerate(page.splitlines(), start=1):
        fence = line.startswith("```")
        if fence and inside is None:
            inside, opened = line[3:].split(" ")[0], number
        elif fence:
            inside = None
        lines.append(line if inside == "python" and not fence else "")
    assert inside is None, f"line {opened}: the block has no end"
    return "\n".join(lines) + "\n"


def run_page(page: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the page's program in ``folder``, with the checkout on its path."""
    (folder / "example.py").write_text(program_of(page))
    return subprocess.run(
        [sys.executable, "example.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_examples_of_a_page_run_as_written(page, tmp_path):
    assert program_of(page.read_text()).strip(), f"{page} has no Python block"
    done = run_page(page.read_text(), tmp_path)
    assert done.returncode == 0, f"{page}:\n{done.stdout}{done.stderr}"


def test_blocks_share_names_and_a_failure_names_the_line_of_the_page(tmp_path):
    page = (
        "# Page\n```python\nx = 1\n```\ntext\n```bash\nexit 1\n```\n```python\nassert x == 2\n```\n"
    )
    done = run_page(page, tmp_path)
    assert done.returncode == 1
    assert "line 10" in done.stderr and "AssertionError" in done.stderr
    assert run_page(page.replace("== 2", "== 1"), tmp_path).returncode == 0
    with pytest.raises(AssertionError, match="line 2"):
        program_of("# Page\n```python\nx = 1\n")
