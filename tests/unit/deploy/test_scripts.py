"""The run scripts: sound bash, usage when asked or wrong, and everything passed on as it is."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
SCRIPTS = ["train.sh", "evaluate.sh", "ablate.sh", "scale_actors.sh"]  # each starts runs
ALL = [*SCRIPTS, "make_certs.sh"]


def run(script, *arguments, python=None, cwd=ROOT):
    environment = {**os.environ, "PYTHON": str(python or sys.executable)}
    command = [str(ROOT / "deploy" / "scripts" / script), *arguments]
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def recorder(tmp_path):
    """Return a stand-in for Python and a function that tells what it was called with."""
    program, out = tmp_path / "python", tmp_path / "calls"
    program.write_text(f'#!/bin/bash\nprintf "%s\\0" "$@" >> {out}\nprintf "\\n\\0" >> {out}\n')
    program.chmod(0o755)

    def calls():
        told = out.read_text().split("\n\0")[:-1]
        return [call.split("\0")[:-1] for call in told]

    return program, calls


def test_all_scripts_are_here_and_no_others():
    assert sorted(p.name for p in (ROOT / "deploy" / "scripts").iterdir()) == sorted(ALL)


@pytest.mark.parametrize("script", ALL)
def test_script_is_sound(script):
    path = ROOT / "deploy" / "scripts" / script
    assert os.access(path, os.X_OK)
    assert "set -euo pipefail" in path.read_text().splitlines()
    shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.defpath}")
    assert shellcheck, "shellcheck is not installed; run: make setup"
    subprocess.run([shellcheck, str(path)], check=True)


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_shows_usage_and_an_example(script, option):
    done = run(script, option)
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: deploy/scripts/{script} ENV SEED [SEED...]")
    assert f"  deploy/scripts/{script} " in done.stdout
    assert "set -euo" not in done.stdout


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("arguments", [(), ("Catch-v0",), ("Catch-v0", "--x"), ("--x", "1")])
def test_missing_arguments_show_usage_as_an_error(script, arguments, recorder, tmp_path):
    done = run(script, *arguments, python=recorder[0])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: ")
    assert not (tmp_path / "calls").exists()


def test_train_starts_one_run_for_each_seed_and_passes_options_on(recorder, tmp_path):
    program, calls = recorder
    options = ["--preset", "catch", "--tracking.group-suffix", "a b", "--x=*"]
    done = run("train.sh", "Catch-v0", "3", "5", *options, python=program, cwd=tmp_path)
    assert done.returncode == 0
    launch = str(ROOT / "launch.py")
    assert calls() == [
        [launch, "--local", "--env", "Catch-v0", "--seed", seed, *options] for seed in ("3", "5")
    ]


def test_train_stops_at_the_first_run_that_fails():
    done = run("train.sh", "Catch-v0", "3", "5", "--preset", "nothing")
    assert done.returncode == 2
    assert done.stderr.count("error:") == 1


def test_evaluate_passes_environment_and_seeds_on(recorder):
    program, calls = recorder
    run("evaluate.sh", "Catch-v0", "3", "5", "--episodes", "4", python=program)
    wanted = [
        str(ROOT / "launch.py"),
        "evaluate",
        "--env",
        "Catch-v0",
        "--seeds",
        "3",
        "5",
        "--episodes",
        "4",
    ]
    assert calls() == [wanted]


def test_evaluate_without_such_a_run_says_so_from_any_folder(tmp_path):
    done = run("evaluate.sh", "Catch-v0", "3", cwd=tmp_path)
    assert done.returncode == 2
    assert "runs has no run of Catch-v0 with that seed" in done.stderr


def test_ablate_leaves_out_the_papers_three_components(tmp_path):
    done = run("ablate.sh", "Catch-v0", "0", "--preset", "catch", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    labels = [" ".join(line.split()[1:4]) for line in done.stdout.splitlines()[1:]]
    arms = ["full", "no_consistency", "no_value_prefix", "no_off_policy"]
    assert labels == [f"{arm} Catch-v0 s0" for arm in arms]


def test_options_of_ablate_win_over_the_scripts(tmp_path):
    options = ["--preset", "catch", "--components", "priority", "--dry-run"]
    done = run("ablate.sh", "Catch-v0", "0", "1", *options, cwd=tmp_path)
    assert [line.split()[1] for line in done.stdout.splitlines()[1:]] == [
        *("full", "full", "no_priority", "no_priority"),
    ]


def test_scale_actors_doubles_them_to_eight(tmp_path):
    done = run("scale_actors.sh", "Catch-v0", "0", "--preset", "catch", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    counts = [line.split()[2] for line in done.stdout.splitlines()[1:]]
    assert counts == [f"num_actors={count}" for count in (1, 2, 4, 8)]
