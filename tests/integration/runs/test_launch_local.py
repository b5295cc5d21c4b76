"""The whole system as a person starts it: ``launch.py --local``, all roles as real processes."""

import math
import signal
import subprocess
from contextlib import ExitStack

import pytest

from actor.tools.show_search import decide, draw
from deploy.results.wandb_history import find_runs
from efficientzero.runs.checkpoint import list_checkpoints, load_checkpoint
from efficientzero.runs.run_folder import RunInfo
from tests.integration.local_runs import TINY, LocalRun, fill, tmpfs
from tests.support.metrics_page import EXPECTED_ANYWHERE, read_page

pytestmark = [pytest.mark.slow, pytest.mark.reverb]

END_S = 120.0
"""Most a run may take from a fatal event to its exit; five seconds on an idle machine."""

ENV_STEPS, TRAIN_STEPS, LAST_TRAIN_STEPS = 1203, 180, 6  # no multiple of any number of environments
BUDGET = (
    *("--budget.env-steps", str(ENV_STEPS), "--budget.warmup-env-steps", "100"),
    *("--budget.train-steps", str(TRAIN_STEPS)),
    *("--budget.last-train-steps", str(LAST_TRAIN_STEPS)),
    *("--learner.checkpoint-interval", "20", "--learner.checkpoints-kept", "3"),
    *("--evaluator.interval-train-steps", "60", "--evaluator.num-episodes", "2"),
    *("--evaluator.final-num-episodes", "3"),
)
ENDLESS = ("--budget.env-steps", "1000000", "--budget.train-steps", "1000000")
KILLED = ("actor-0", "actor-1", "reanalyzer-1")


def has_trained(status):
    return status.train_steps > 0


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run to its budget, in which every actor and a reanalyzer was killed on the way."""
    runs_dir = tmp_path_factory.mktemp("local") / "runs"
    options = (*TINY, *BUDGET, "--actors", "2", "--reanalyzers", "2", "--seed", "5")
    with LocalRun(runs_dir, *options) as run:
        status = run.wait_for_status("training", has_trained)
        for name in KILLED:
            run.kill(name)
        run.exit_code = run.wait()
        run.left_over = run.pids()
        run.status_at_kill = status
        yield run


def test_run_reaches_its_budget_exactly_and_exits_with_0(finished):
    assert finished.exit_code == 0, finished.output
    summary = finished.summary
    assert summary["exit_reason"] == "budget"
    assert summary["exit_code"] == 0
    assert summary["env_steps"] == ENV_STEPS
    assert summary["train_steps"] == TRAIN_STEPS + LAST_TRAIN_STEPS


def test_killed_actors_and_reanalyzer_are_started_again_and_the_run_says_so(finished):
    # With both actors gone, only their successors can have collected the rest.
    assert finished.status_at_kill.env_steps < ENV_STEPS
    for name in KILLED:
        assert f"{name} was killed by SIGKILL" in finished.output
        (line,) = [
            line
            for line in finished.output.splitlines()
            if line.startswith("launcher") and f"{name} was killed" in line
        ]
        assert line.endswith("restarting (1 of 5)")


def test_no_process_outlives_the_run(finished):
    assert finished.left_over == {}


def test_summary_holds_the_result_and_what_it_takes_to_repeat_it(finished):
    summary, config = finished.summary, finished.config
    assert summary["run_id"] == "run"
    assert summary["env_id"] == "Catch-v0"
    assert summary["preset"] == "catch"
    assert summary["seed"] == 5
    assert summary["group"] == config["group"]
    assert summary["group"].startswith("Catch-v0_catch")
    assert summary["config_hash"] == config["config_hash"]
    assert summary["wall_s"] > 0
    spenders = {"learner", "actor", "reanalyzer", "evaluator", "replay", "wandb"}
    assert summary["cpu_seconds"].keys() == spenders
    assert summary["episodes"] >= 1
    assert summary["versions"].keys() >= {"python", "torch", "reverb", "gymnasium", "wandb"}
    assert summary["eval_is_final"] is True
    assert summary["eval_weights_version"] == TRAIN_STEPS + LAST_TRAIN_STEPS
    assert len(summary["eval_returns"]) == 3
    assert summary["eval_return_mean"] == pytest.approx(sum(summary["eval_returns"]) / 3)


def test_evaluations_and_episodes_are_on_disk_line_by_line(finished):
    evaluations = finished.lines("evaluations.jsonl")
    assert [line["is_final"] for line in evaluations].count(True) == 1
    assert evaluations[-1]["is_final"]
    assert evaluations[-1]["env_steps"] == ENV_STEPS
    assert evaluations[-1]["returns"] == finished.summary["eval_returns"]
    episodes = finished.lines("episodes.jsonl")
    assert len(episodes) == finished.summary["episodes"]
    assert {line["actor"] for line in episodes} == {0, 1}
    assert {line["length"] for line in episodes} == {9}
    assert {line["return"] for line in episodes} <= {-1.0, 1.0}


def test_last_checkpoint_is_that_of_the_last_train_step(finished):
    paths = list_checkpoints(finished.directory / "checkpoints")
    state = load_checkpoint(paths[-1])
    assert state["train_step"] == TRAIN_STEPS + LAST_TRAIN_STEPS
    assert state["config_hash"] == finished.config["config_hash"]
    assert len(paths) == 3
    assert list((finished.directory / "checkpoints").glob("*.tmp")) == []


def test_every_process_records_its_metrics_in_one_wandb_group(finished):
    # A process killed this early leaves a file without a single record.
    runs = {run.run_id: run for run in find_runs(finished.directory / "wandb") if run.run_id}
    group, uid = finished.config["group"], finished.config["run_uid"]
    wanted = {"learner-0", "replay-0", "evaluator-0", "reanalyzer-0", "actor-0", "actor-1"}
    assert {f"{uid}-{name}" for name in wanted} <= runs.keys()
    for run_id, run in runs.items():
        assert run_id == f"{uid}-{run.job_type}-" + run_id.split("-", 2)[2]
        assert (run.group, run.name) == (group, f"{group}_s5")
        assert (run.entity, run.project) == ("stablegradients", "MonteCarloTreeSearch")
        assert run.config["config_hash"] == finished.config["config_hash"]
        assert run.exit_code == 0
    for role in ("learner", "actor", "reanalyzer"):
        keys = set().union(*(run.keys() for run in runs.values() if run.job_type == role))
        assert any(key.startswith(f"{role}/time/") and key.endswith("_ms") for key in keys), role
    assert runs[f"{uid}-replay-0"].series("replay/samples_per_insert")[-1] > 0
    means = runs[f"{uid}-evaluator-0"].series("eval/return_mean")
    assert means[-1] == finished.summary["eval_return_mean"]


def test_every_metric_recorded_is_documented_and_every_documented_one_recorded(finished):
    recorded = set().union(*(run.keys() for run in find_runs(finished.directory / "wandb")))
    documented = read_page()
    unknown = {k for k in recorded if not any(m.pattern.fullmatch(k) for m in documented)}
    assert unknown == set(), "not in docs/reference/metrics.md"
    missing = {
        metric.name
        for metric in documented
        if metric.when in EXPECTED_ANYWHERE
        and not any(metric.pattern.fullmatch(key) for key in recorded)
    }
    assert missing == set(), "in docs/reference/metrics.md, but no process recorded it"


def test_every_metric_is_drawn_over_the_axis_the_page_says(finished):
    documented = read_page()
    for run in find_runs(finished.directory / "wandb"):
        for key in run.keys():  # noqa: SIM118  not a mapping
            (metric,) = [m for m in documented if m.pattern.fullmatch(key)]
            axis = run.axes[key].partition("/")[2]
            ends = {"env_steps": ("env_steps", "steps_inserted"), "wall": ("wall_s",)}
            assert axis in ends.get(metric.axis, (metric.axis,)), key
            assert all(run.axes[key] in row for row in run.rows if key in row), key


def test_no_file_of_a_run_is_for_tensorboard(finished):
    assert [path for path in finished.directory.rglob("*") if "tfevents" in path.name] == []


def test_losses_are_recorded_and_finite(finished):
    (learner,) = [r for r in find_runs(finished.directory / "wandb") if r.job_type == "learner"]
    losses = learner.series("learner/loss")
    assert len(losses) == (TRAIN_STEPS + LAST_TRAIN_STEPS) // 10
    assert all(math.isfinite(loss) for loss in losses)
    assert learner.exit_code == 0


def test_every_process_has_a_log(finished):
    names = {path.name for path in (finished.directory / "logs").iterdir()}
    numbered = {f"{role}-{i}.log" for role in ("actor", "reanalyzer") for i in range(2)}
    assert names == {"learner-0.log", "replay-0.log", "evaluator-0.log"} | numbered


@pytest.mark.parametrize("victim", ["learner-0", "replay-0"])
def test_run_without_restarts_ends_at_once_with_its_learner_or_replay_and_says_why(
    tmp_path, victim
):
    options = (*TINY, *BUDGET, *ENDLESS, "--cluster.max-restarts", "0")
    with LocalRun(tmp_path / "runs", *options) as run:
        run.wait_for_status("training", has_trained)
        run.kill(victim)
        assert run.wait(END_S) == 1
        assert run.pids() == {}
        assert f"stopping: failed: {victim} was killed by SIGKILL" in run.output
        assert run.summary["exit_reason"].startswith(f"failed: {victim} was killed by SIGKILL")
        assert run.summary["exit_code"] == 1


def test_ctrl_c_saves_and_exits_with_130(tmp_path):
    with LocalRun(tmp_path / "runs", *TINY, *BUDGET, *ENDLESS) as run:
        reached = run.wait_for_status("training", has_trained)
        run.process.send_signal(signal.SIGINT)
        assert run.wait() == 130
        assert run.pids() == {}
        assert run.summary["exit_reason"] == "interrupted"
        assert run.summary["exit_code"] == 130
        newest = load_checkpoint(list_checkpoints(run.directory / "checkpoints")[-1])
        assert newest["train_step"] >= reached.train_steps
        assert "Traceback" not in run.output
        assert "is killed" not in run.output


@pytest.fixture
def small_disk(tmp_path):
    """Return a function that mounts a disk of some size; skips where only root may do that."""
    with ExitStack() as stack:

        def mount(size_bytes):
            try:
                return stack.enter_context(tmpfs(tmp_path / "disk", size_bytes=size_bytes))
            except subprocess.CalledProcessError as error:
                pytest.skip(f"mounting a small disk needs root: {error.stderr.decode().strip()}")

        yield mount


def test_run_that_waits_for_a_full_disk_saves_all_when_interrupted(small_disk):
    disk = small_disk(260 * 10**6)  # the launcher wants 200 MB to begin with
    with LocalRun(disk / "runs", *TINY, *BUDGET, *ENDLESS) as run:
        run.wait_for_status("a checkpoint", lambda status: status.train_steps > 20)
        printed_before = len(run.output.splitlines())
        fill(disk)
        run.wait_for_status("the pause", lambda status: "disk full" in status.waiting_for)
        reached = run.wait_for_status("its cause", lambda status: "disk full" in status.cause)
        run.process.send_signal(signal.SIGINT)
        assert run.wait(END_S) == 130
        assert run.pids() == {}
        assert "Traceback" not in run.output
        assert len(run.output.splitlines()) - printed_before < 100
        kept = list_checkpoints(run.directory / "checkpoints")
        # Nothing was trained in the pause, and the room that was kept took the last checkpoint.
        assert load_checkpoint(kept[-1])["train_step"] == reached.train_steps
        assert sorted((run.directory / "checkpoints").iterdir()) == kept
        assert run.summary["exit_reason"] == "interrupted"
        assert not (run.directory / "reserved_space").exists()


def test_disk_without_room_for_a_run_is_refused_before_anything_starts(small_disk):
    disk = small_disk(4 * 2**20)
    with LocalRun(disk / "runs", *TINY) as run:
        assert run.wait() == 2
        (line,) = run.output.splitlines()
        assert line.startswith(f"launch.py: error: --runs-dir: {disk / 'runs'} has 4 MB free")
        assert list((disk / "runs").iterdir()) == []


def test_misspelt_environment_is_one_line_that_names_the_nearest(tmp_path):
    with LocalRun(tmp_path / "runs", "--preset", "catch", "--env", "CartPol-v1") as run:
        assert run.wait() == 2
        (line,) = run.output.splitlines()
        assert line.startswith("launch.py: error: env.id=CartPol-v1")
        assert "CartPole-v1" in line
        assert not (tmp_path / "runs").exists()


def test_a_decision_of_the_finished_run_can_be_drawn(finished, tmp_path):
    decision = decide(RunInfo.load(finished.directory / "config.json"), env_step=3)
    assert decision.train_step == TRAIN_STEPS + LAST_TRAIN_STEPS
    assert decision.tree["nodes"][0]["visits"] == decision.result.visit_counts.sum() + 1
    draw(decision, max_nodes=20, out=tmp_path / "decision.png")
    assert (tmp_path / "decision.png").stat().st_size > 10_000
