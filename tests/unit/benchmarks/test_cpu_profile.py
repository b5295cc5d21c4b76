"""The page on CPU-seconds by role and section: rows and sums set by hand."""

from dataclasses import replace

import pytest

from benchmarks.__main__ import main
from benchmarks.pages import cpu_profile
from benchmarks.pages.cpu_profile import read_profile
from deploy.results.wandb_history import Row
from efficientzero.config.preset_files import load_preset
from efficientzero.runs.run_folder import write_json
from tests.support.fakes import tiny_run

SUMMARY = {
    "exit_code": 0,
    "seed": 3,
    "wall_s": 120.0,
    "env_steps": 12_000,
    "train_steps": 2_450,
    "eval_return_mean": 1.0,
    "cpu_seconds": {"learner": 40.0, "actor": 20.0, "replay": 5.0},
    "versions": {"git_commit": "c0ffee"},
}


def row(role, at, share, **more):
    times = {"_timestamp": 1_000.0 + at, f"{role}/wall_s": float(at)}
    named = {f"{role}/{name.replace('__', '/')}": value for name, value in more.items()}
    return Row(role, 0, {**times, f"{role}/process/cpu_share": share, **named})


ROWS = [
    row("learner", 20, 0.9, cpu__forward_share=0.5, cpu__other_share=0.1, time__forward_share=0.6),
    row("learner", 40, 0.8, cpu__forward_share=0.4, cpu__other_share=0.1, time__forward_share=0.5),
    # A version that told nothing by section.
    row("actor", 10, 0.5, time__search_share=0.8, time__wait_share=0.1),
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    run = tmp_path / "run"
    config = replace(load_preset("catch"), seed=3)
    tiny_run(run, config).save()
    write_json(run / "summary.json", SUMMARY)
    monkeypatch.setattr(cpu_profile, "read_rows", lambda directory: ROWS)
    return run


def test_sections_threads_and_the_rest_add_up_to_the_role(folder):
    profile = read_profile(folder)
    assert profile.of_section["learner"] == pytest.approx(
        {
            "forward": 20 * 0.5 + 20 * 0.4,
            "in no section": 20 * 0.1 + 20 * 0.1,
            "other threads": 20 * (0.9 - 0.6) + 20 * (0.8 - 0.5),
            "start and end": 40.0 - 20 * 0.9 - 20 * 0.8,
        }
    )
    actor = {"not timed by section": 10 * 0.5, "start and end": 20.0 - 5.0}
    assert profile.of_section["actor"] == pytest.approx(actor)
    assert profile.wall_of_section["actor"] == {"search": 8.0}
    assert profile.total == 65.0


def test_the_page_has_roles_and_sections_and_is_written_where_asked(folder, capsys):
    page = folder.parent / "docs" / "cpu.md"
    assert main(["cpu", str(folder), "--out", str(page)]) == 0
    text = page.read_text()
    assert capsys.readouterr().out == text
    assert "## Catch-v0 (catch)" in text
    assert "| learner | 40 | 62% |" in text
    assert "| learner | forward | 18.0 | 27.7% | 22 |" in text
    assert "| actor | search |  |  | 8 |" in text
    assert "2.0 minutes, final return 1.00, 65 CPU-seconds. Revision c0ffee." in text


def test_a_run_that_kept_no_sums_is_refused_by_name(folder, capsys):
    write_json(folder / "summary.json", {**SUMMARY, "cpu_seconds": {}})
    assert main(["cpu", str(folder)]) == 2
    assert f"{folder}: got no cpu_seconds" in capsys.readouterr().err
