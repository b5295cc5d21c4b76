"""Files hold one concept, and rooms can be read at a glance."""

from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("efficientzero", "replay", "actor", "reanalyzer", "learner", "deploy", "benchmarks")
MOST_LINES, MOST_ENTRIES = 300, 12
NOT_WRITTEN_BY_HAND = "efficientzero/rpc/stubs/"


def source_files():
    files = [file for room in ROOMS for file in (ROOT / room).rglob("*.py")]
    return [file.relative_to(ROOT) for file in files]


def test_source_files_are_not_too_long():
    files = [file for file in source_files() if not str(file).startswith(NOT_WRITTEN_BY_HAND)]
    assert len(files) > 200
    lengths = {str(file): len((ROOT / file).read_text().splitlines()) for file in files}
    assert {file: lines for file, lines in lengths.items() if lines > MOST_LINES} == {}


def test_packages_do_not_have_too_many_files():
    entries = defaultdict(set)
    for file in source_files():
        for folder in file.parents[:-1]:
            entry = file.relative_to(folder).parts[0]
            if entry != "__init__.py":
                entries[str(folder)].add(entry)
    assert len(entries) > 30
    assert {
        folder: len(names) for folder, names in entries.items() if len(names) > MOST_ENTRIES
    } == {}
