"""One run in containers: killed, hung, scaled, taken down and up again, to its budget.

``python -m pytest -s tests/containers`` as root where a docker engine runs. It builds the image:
minutes the first time. It is not part of CI, where there is no engine.
"""

import json
import os
import shutil
import signal
import subprocess
import time

import pytest

from tests.containers.compose import CHECKOUT, Compose, build_image, what_is_missing
from tests.integration.local_runs import TINY

# So many that the run is not over before it has been through everything. Where it is (a quick
# machine), set more; on one that is busy with something else less is enough.
TRAIN_STEPS, LAST_TRAIN_STEPS = int(os.environ.get("CONTAINERS_TRAIN_STEPS", "6000")), 6
ENV_STEPS = 5 * TRAIN_STEPS + 11
CHECKPOINT_INTERVAL = 20
# What one actor plays: 8 environments, episodes of 9. An actor's death costs that; the learner's
# and replay's cost it to both actors, and replay's what came since its snapshot, while one more may
# be in the making. Going down costs nothing.
IN_FLIGHT = 8 * 9
MOST_LOST = (1 + 2 + 2) * IN_FLIGHT + 2 * CHECKPOINT_INTERVAL * ENV_STEPS // TRAIN_STEPS
OPTIONS = (
    *TINY,
    *("--budget.env-steps", str(ENV_STEPS), "--budget.warmup-env-steps", "100"),
    *("--budget.train-steps", str(TRAIN_STEPS)),
    *("--budget.last-train-steps", str(LAST_TRAIN_STEPS)),
    *("--learner.checkpoint-interval", str(CHECKPOINT_INTERVAL), "--seed", "3"),
    *("--evaluator.interval-train-steps", "400", "--evaluator.num-episodes", "2"),
    *("--evaluator.final-num-episodes", "3"),
)
ROLES = ("replay", "learner", "reanalyzer", "actor", "evaluator")
PATIENCE_S = 600.0
USER = 10001


def alive(status, role):
    return [p for p in status["processes"] if (p["role"], p["state"]) == (role, "alive")]


def note(text):
    print(f"[containers] {text}", flush=True)


@pytest.fixture(scope="module")
def toured(tmp_path_factory):
    missing = what_is_missing()
    if missing:
        pytest.skip(missing)
    note(f"image: {build_image():.0f} MB")
    credentials = tmp_path_factory.mktemp("containers") / "credentials"
    script = CHECKOUT / "deploy" / "scripts" / "make_certs.sh"
    subprocess.run([script, credentials], check=True, capture_output=True)
    for path in credentials.iterdir():
        shutil.chown(path, USER, USER)
    env = {
        "EFFICIENTZERO_CREDENTIALS_DIR": str(credentials),
        "EFFICIENTZERO_RUN_OPTIONS": " ".join(OPTIONS),
        "EFFICIENTZERO_STUCK_AFTER": "60",
        **{f"{role.upper()}_CPUS": "1" for role in ROLES},
    }
    with Compose("eztest", env) as compose:
        tour(compose)
        yield compose


def tour(compose):
    compose.up(actor=2, reanalyzer=2)
    full = compose.wait_for_status(
        "two actors and two reanalyzers that train",
        lambda s: (
            len(alive(s, "actor")) == len(alive(s, "reanalyzer")) == 2 and s["train_steps"] > 40
        ),
        PATIENCE_S,
    )
    note(f"two actors, two reanalyzers: train_step {full['train_steps']}")
    took = compose.wait_until("health", lambda: healthy(compose, *ROLES), PATIENCE_S)
    note(f"everybody healthy after another {took:.1f} s")

    for role in ("actor", "reanalyzer", "replay", "learner"):
        before = compose.wait_for_status("an answer", lambda _: True)
        victim = compose.running(role)[0]
        compose.signal(victim, signal.SIGKILL)
        took = compose.wait_until(
            f"a restarted {role}",
            lambda role=role, victim=victim: any(
                c["Id"] == victim["Id"] and c["RestartCount"] == victim["RestartCount"] + 1
                for c in compose.running(role)
            ),
            PATIENCE_S,
        )
        further = compose.wait_for_status(
            f"training after the {role}'s death",
            lambda s, before=before: s["train_steps"] > before["train_steps"] + 8,
            PATIENCE_S,
        )
        note(f"{role} killed: restarted in {took:.1f} s, at train_step {further['train_steps']}")

    compose.up(actor=3, reanalyzer=1)
    took = wait_for_alive(compose, actor=3, reanalyzer=1)
    note(f"scaled to three actors and one reanalyzer in {took:.1f} s")
    compose.up(actor=1, reanalyzer=1)
    took = wait_for_alive(compose, actor=1, reanalyzer=1)
    note(f"scaled to one actor in {took:.1f} s")

    before = compose.wait_for_status("an answer", lambda _: True)
    compose("down", "--timeout", "90")
    compose.up(actor=0, reanalyzer=1)
    resumed = compose.wait_for_status("the run again", lambda s: s["train_steps"] > 0, PATIENCE_S)
    assert before["train_steps"] <= resumed["train_steps"] < TRAIN_STEPS, (
        "the run was over too early: CONTAINERS_TRAIN_STEPS sets a larger budget"
    )
    note(f"down at train_step {before['train_steps']}, up at {resumed['train_steps']}")

    hang_evaluator(compose)  # without actors the run waits meanwhile
    compose.up(actor=2, reanalyzer=2)
    took = compose.wait_until("the end", lambda: not compose.running("learner"), 2 * PATIENCE_S)
    note(f"two actors and two reanalyzers: at its budget after another {took:.1f} s")


def hang_evaluator(compose):
    compose.wait_until("a healthy evaluator", lambda: healthy(compose, "evaluator"), PATIENCE_S)
    hung = compose.running("evaluator")[0]
    compose.signal(hung, signal.SIGSTOP)
    took = compose.wait_until(
        "the hung evaluator to be unhealthy",
        lambda: "unhealthy" in compose.health("evaluator"),
        PATIENCE_S,
    )
    note(f"hung evaluator unhealthy after {took:.1f} s")
    assert healthy(compose, "replay", "learner", "reanalyzer")
    compose.signal(hung, signal.SIGCONT)


def wait_for_alive(compose, **numbers):
    started = time.monotonic()
    compose.wait_for_status(
        f"so many alive: {numbers}",
        lambda s: all(len(alive(s, role)) == number for role, number in numbers.items()),
        PATIENCE_S,
    )
    return time.monotonic() - started


def healthy(compose, *roles):
    return {h for role in roles for h in compose.health(role)} == {"healthy"}


def test_learner_ends_with_0_at_the_budget(toured):
    (learner,) = toured.containers("learner")
    assert learner["State"]["ExitCode"] == 0, toured.logs("learner")
    evaluations = toured.run("cat", "/runs/run/evaluations.jsonl").splitlines()
    last = json.loads(evaluations[-1])
    assert last["is_final"]
    assert last["env_steps"] == ENV_STEPS
    assert last["weights_version"] == TRAIN_STEPS + LAST_TRAIN_STEPS


def test_as_much_was_trained_per_env_step_as_configured_and_little_was_lost(toured):
    summary = json.loads(toured.run("cat", "/runs/run/summary.json"))
    assert (summary["exit_code"], summary["exit_reason"]) == (0, "budget")
    stamp = summary["fairness"]
    ratio = stamp["replay_ratio"] / stamp["configured_replay_ratio"]
    note(f"{ENV_STEPS} env_steps, {stamp['env_steps_lost']} lost; ratio {ratio:.3f}")
    assert ratio == pytest.approx(1.0, abs=0.05)
    assert stamp["env_steps_lost"] <= MOST_LOST


def test_run_went_on_from_its_checkpoint_and_its_snapshot(toured):
    assert "resumed at train_step" in toured.logs("learner")
    assert "restored snapshot" in toured.logs("replay")


def test_run_folder_keeps_the_logs_of_those_who_have_it_and_no_other_can_write_it(toured):
    assert toured.run("ls", "/runs/run/logs").split() == ["learner-0.log", "replay-0.log"]
    for role in ROLES:
        for container in toured.containers(role):
            mounted = {mount["Destination"] for mount in container["Mounts"]}
            assert ("/runs" in mounted) == (role in ("replay", "learner")), role
            assert container["HostConfig"]["SecurityOpt"] == ["no-new-privileges:true"], role
    assert toured.run("find", "/", "-xdev", "-type", "f", "-perm", "/6000") == ""


def test_workers_leave_with_the_run(toured):
    for role in ("actor", "reanalyzer", "evaluator"):
        toured.wait_until(
            f"the {role}s' end", lambda role=role: not toured.running(role), PATIENCE_S
        )
        assert {c["State"]["ExitCode"] for c in toured.containers(role)} == {0}, role


def test_nothing_ran_as_root(toured):
    assert {c["Config"]["User"] for role in ROLES for c in toured.containers(role)} == {
        f"{USER}:{USER}"
    }
