"""A run with a pool of past weights, as a person starts it: all roles as real processes."""

import hashlib
import json
import re
import subprocess
import sys

import pytest
import safetensors.torch

pytest.importorskip("pyspiel", reason="make setup-games installs it")

from deploy.checks.fork import find_fork
from deploy.results.wandb_history import find_runs
from efficientzero.runs.checkpoint import list_checkpoints, load_checkpoint, weights_sha256
from replay.snapshots import check_format
from replay.tables import TRAJECTORIES_WITH_MOVERS
from tests.integration.local_runs import CHECKOUT, LocalRun
from tests.support.metrics_page import read_page

pytestmark = [pytest.mark.slow, pytest.mark.reverb]

CAPACITY = 4
OPTIONS = (
    *("--preset", "tictactoe", "--tracking.mode", "offline", "--actors", "2"),
    *("--league.pool-share", "0.25", "--league.snapshot-interval", "20"),
    *("--league.capacity", str(CAPACITY), "--league.baseline-share", "0.2"),
    *("--league.ladder-games", "4", "--league.baselines", "random", "minimax"),
    *("--budget.env-steps", "2500", "--budget.warmup-env-steps", "200"),
    *("--budget.train-steps", "250", "--budget.last-train-steps", "10"),
    *("--network.mlp-latent-size", "32", "--network.mlp-hidden-size", "32"),
    *("--search.num-simulations", "6", "--actor.num-envs", "8", "--learner.batch-size", "32"),
    *("--learner.publish-interval", "10", "--learner.target-interval", "20"),
    *("--learner.checkpoint-interval", "30", "--learner.log-interval", "10"),
    *("--evaluator.interval-train-steps", "80", "--evaluator.num-episodes", "4"),
    *("--evaluator.final-num-episodes", "6", "--cluster.metrics-interval-seconds", "1"),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that lost its power after some members, and went on to its end."""
    runs_dir = tmp_path_factory.mktemp("league")
    with LocalRun(runs_dir, *OPTIONS) as before:
        before.wait_for_status("five members", lambda status: status.train_steps > 100)
        before.wait_for(
            "a checkpoint", lambda: list_checkpoints(before.directory / "checkpoints") != []
        )
        before.kill_all()
        first_output = before.output
    state = load_checkpoint(list_checkpoints(before.directory / "checkpoints")[-1])
    with LocalRun(runs_dir, resume=True) as resumed:
        resumed.wait_for_status("training again", lambda status: status.train_steps > 170)
        resumed.shown_while_running = shown_status(resumed.directory)
        resumed.exit_code = resumed.wait()
        resumed.first_output = first_output
        resumed.state_before = state
        yield resumed


def shown_status(folder, *options):
    """Return what ``launch.py status`` prints of a run's folder."""
    return subprocess.run(
        [sys.executable, "launch.py", "status", str(folder), *options],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout


def league_of(run):
    return json.loads((run.directory / "league" / "league.json").read_text())


def test_a_run_with_a_pool_goes_on_after_a_power_cut_and_ends_at_its_budget(run):
    assert run.exit_code == 0, run.output
    assert (run.summary["env_steps"], run.summary["train_steps"]) == (2500, 260)
    assert "restarting" not in run.output


def test_files_of_members_are_what_the_league_and_the_actors_say(run):
    members = league_of(run)["members"]
    steps = [member["train_step"] for member in members]
    assert (len(steps), steps[0], steps[-1]) == (CAPACITY, 0, 260)
    files = {path.name for path in (run.directory / "league").iterdir()}
    assert files == {"league.json", *(f"member_{step}.safetensors" for step in steps)}
    content = {}
    for member in members:
        path = run.directory / "league" / f"member_{member['train_step']}.safetensors"
        assert hashlib.sha256(path.read_bytes()).hexdigest() == member["sha256"]
        content[member["train_step"]] = weights_sha256(safetensors.torch.load_file(path))[:12]
    # What went on after the power cut is what the checkpoint had.
    before = {m["train_step"]: m["sha256"] for m in run.state_before["league"]["members"]}
    assert before[0] == members[0]["sha256"]
    last = run.state_before["train_step"]
    played = [line for line in members_played(run.first_output) if line[1] <= last]
    played += members_played(run.output)
    assert {index for index, _, _ in played} == {"0", "1"}
    kept = [(step, digest) for _, step, digest in played if step in content]
    assert kept
    for step, digest in kept:
        assert digest == content[step]


def members_played(output):
    """Return (actor, train_step, digest) of each member's weights that an actor has got."""
    line = r"^actor-(\d) .* next games are against member_(\d+) \(sha256 (\w+)\)"
    return [(actor, int(step), digest) for actor, step, digest in re.findall(line, output, re.M)]


def test_stored_steps_say_whose_weights_moved(run):
    fork = find_fork(run.directory, is_frozen=False, takes_weights=False)
    check_format(fork.snapshot, TRAJECTORIES_WITH_MOVERS)
    assert fork.facts.num_steps > 0


def test_evaluations_feed_the_ladder_that_status_prints(run):
    ladder = {place["name"]: place for place in league_of(run)["ladder"]}
    assert ladder["random"]["games"] > 0
    assert ladder["member_0"]["games"] >= 4
    assert ladder["member_260"]["games"] >= 6 + 6 + 3 * 4  # evaluated at the end
    ended = shown_status(run.directory)
    assert "learner-0" in run.shown_while_running
    assert "learner-0" not in ended
    for shown in (run.shown_while_running, ended):
        assert "ladder: rating" in shown
        assert re.search(r"^  member_0 +[+-]\d+ \+- +\d+ +\d+ games", shown, re.M)
    values = json.loads(shown_status(run.directory, "--json"))
    assert values["ladder"] == league_of(run)["ladder"]


def test_every_metric_of_the_pool_is_on_the_page_and_was_logged(run):
    found = find_runs(run.directory / "wandb")
    logged = set().union(*(one.keys() for one in found))
    page = {metric.name: metric for metric in read_page()}
    pattern = "league/win_<baseline>"
    wanted = {name for name, metric in page.items() if metric.when == "pool"} - {pattern}
    assert wanted <= logged
    baselines = {f"league/win_{name}" for name in ("random", "minimax")} & logged
    assert baselines
    assert {name for name in logged if name.startswith("league/")} - baselines <= wanted
    for one in found:
        for name in one.keys() & (wanted | baselines):
            axis = one.axes[name].partition("/")[2]
            assert axis == page.get(name, page[pattern]).axis
