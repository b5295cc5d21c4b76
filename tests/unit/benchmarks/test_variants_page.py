"""The page of variants: every grid can run, every finished run is in the table of its question."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.learning.page import final_table
from benchmarks.learning.sections import SECTIONS, Section, Study
from benchmarks.learning.variants import arm_of, section_results
from benchmarks.learning.variants_page import make_variants_page
from benchmarks.pages.arms import read_cells
from deploy.launching.groups import run_group
from efficientzero.config import validate
from efficientzero.envs import probe_env_spec
from tests.support.finished_runs import finish

GRIDS = Path(__file__).parents[3] / "benchmarks" / "grids"
OWN = sorted((GRIDS / "variants").glob("*.toml"))
STUDIES = [study for section in SECTIONS for study in section.studies]


@pytest.fixture(autouse=True)
def from_the_checkout(monkeypatch):
    """Grids are named from there; leave the handlers of the test's process as they are."""
    monkeypatch.chdir(GRIDS.parents[1])
    monkeypatch.setattr(
        "benchmarks.learning.variants.install_stop_handlers", lambda stop, exit_grace_s: None
    )


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
def test_the_cells_of_every_grid_can_run(path):
    cells = read_cells(path)
    assert len({cell.config.seed for cell in cells}) >= 3
    for cell in cells:
        validate(cell.config, probe_env_spec(cell.config.env))


def test_every_grid_answers_a_question_and_every_study_has_a_grid():
    assert {study.grid.resolve() for study in STUDIES} >= set(OWN)
    assert all(study.grid.is_file() for study in STUDIES)


def finish_all(study, runs_dir):
    """Finish all cells of a grid: 0.1 without a decoder, 0.9 with one, and 0.01 more each seed."""
    for cell in read_cells(study.grid):
        folder = runs_dir / f"run-{cell.index}"
        folder.mkdir()
        mean = 0.9 if cell.config.learner.reconstruction_coefficient else 0.1
        finish(folder, cell.config, [0.0, mean + 0.01 * (cell.config.seed - 101)])


NO_CONSISTENCY = next(study for study in STUDIES if study.grid.stem == "catch-no-consistency")


def test_arms_are_named_by_their_study_and_what_varies():
    cells = read_cells(NO_CONSISTENCY.grid)
    names = {arm_of(NO_CONSISTENCY, cell) for cell in cells}
    assert names == {f"no consistency, reconstruction_coefficient {c}" for c in (0.0, 1.0)}
    alone = replace(cells[0], place={key: cells[0].place[key] for key in ("env.id", "seed")})
    assert arm_of(Study(name="nce", grid=NO_CONSISTENCY.grid), alone) == "nce"


def test_arms_with_a_search_and_without_are_named_so_next_to_their_groups(tmp_path):
    section = next(section for section in SECTIONS if section.title.startswith("Search against"))
    finish_all(section.studies[0], tmp_path)
    results, _ = section_results(section, tmp_path)
    played = [
        replace(
            result,
            run=replace(result.run, group=run_group(result.config)),
            alone={"prior": 0.3, "random": -0.6},
        )
        for result in results
    ]
    page = make_variants_page({section: played}, plain=[], made_by="this", missing=[])
    rows = [line.strip("| ").split(" | ") for line in page.partition("## Groups")[2].splitlines()]
    groups = {row[1]: row[2] for row in rows if row[0] == section.title}
    assert {arm: group.split("_")[1] for arm, group in groups.items()} == {
        "Q head and model, search of 8 simulations": "catch",
        "Q head and model, no search": "catch-q",
    }
    runs = page.partition("## Runs")[2].partition("## Groups")[0]
    shown = {
        row[1]: (row[3], row[5])
        for row in (line.split(" | ") for line in runs.splitlines())
        if len(row) > 5
    }
    assert shown["Q head and model, search of 8 simulations"] == ("0.11", "0.30")
    assert shown["Q head and model, no search"] == ("", "0.11")
    alone = final_table({"Catch-v0": [r for r in played if not r.searches]}, [])
    assert alone.splitlines()[-1].split(" | ")[2:7] == [
        *("", "0.10 [0.09, 0.11]", "-0.60 [-0.60, -0.60]", "- / yes", "")
    ]


def test_a_section_has_a_row_for_each_arm_with_its_seeds_and_interval(tmp_path):
    finish_all(NO_CONSISTENCY, tmp_path)
    section = Section(title="Losses", text="What is best?", studies=(NO_CONSISTENCY,))
    results, missing = section_results(section, tmp_path)
    assert missing == [] and len(results) == 6
    page = make_variants_page({section: results}, plain=[], made_by="this", missing=["a: not run"])
    table = page.partition("### Losses: Catch-v0")[2].partition("## Runs")[0]
    first, best = (line.split(" | ") for line in table.splitlines() if "coefficient" in line[:60])
    assert first[0] == "| no consistency, reconstruction_coefficient 0.0"
    assert first[1:4] == ["100 101 102", "12000", "0.10 [0.09, 0.11]"]
    assert best[3] == "0.90 [0.89, 0.91]"
    assert best[6:8] == ["yes", "0.80 [0.80, 0.80] (n = 3)"]
    assert page.count("* a: not run") == 1


def two_sections(monkeypatch):
    sections = [section for section in SECTIONS if section.title.startswith(("Con", "Val"))]
    monkeypatch.setattr("benchmarks.learning.variants.SECTIONS", tuple(sections))


def test_the_command_lists_what_has_not_finished(tmp_path, capsys, monkeypatch):
    two_sections(monkeypatch)
    finish_all(NO_CONSISTENCY, tmp_path)
    out = tmp_path / "docs" / "variants.md"
    assert main(["variants", "--runs-dir", str(tmp_path), "--out", str(out)]) == 1
    page, _, missing = out.read_text().partition("## Missing")
    assert "## Value targets" in page and "No run has finished." in page
    assert "benchmarks/grids/variants/catch-nce.toml: Catch-v0 s100: not run" in missing
    assert "catch-no-consistency.toml" not in missing
    assert "missing: benchmarks/grids/variants/cartpole-targets" in capsys.readouterr().err


def test_without_any_run_there_is_no_page(tmp_path, capsys, monkeypatch):
    two_sections(monkeypatch)
    out = tmp_path / "variants.md"
    assert main(["variants", "--runs-dir", str(tmp_path), "--out", str(out)]) == 2
    assert "no run has finished" in capsys.readouterr().err and not out.exists()
