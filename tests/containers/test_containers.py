"""One run in containers: killed, hung, scaled, taken down and up again, to its budget.

``python -m pytest -s tests/containers`` as root where a docker engine runs. It builds the image:
minutes the first time. It is not part of CI, where there is no engine.
"""

import json
import shutil
import signal
import subprocess

import pytest

from tests.containers.compose import CHECKOUT, Compose, build_image, what_is_missing
from tests.integration.local_runs import TINY

ENV_STEPS, TRAIN_STEPS, LAST_TRAIN_STEPS = 12_011, 2400, 6
OPTIONS = (
    *TINY,
    *("--budget.env-steps", str(ENV_STEPS), "--budget.warmup-env-steps", "100"),
    *("--budget.train-steps", str(TRAIN_STEPS)),
    *("--budget.last-train-steps", str(LAST_TRAIN_STEPS)),
    *("--learner.checkpoint-interval", "20", "--seed", "3"),
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
        "EFFICIENTZERO_STUCK_AFTER": "20",
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
    took = compose.wait_until(
        "health", lambda: {h for r in ROLES for h in compose.health(r)} == {"healthy"}, PATIENCE_S
    )
    note(f"everybody healthy after another {took:.1f} s")

    for role in ("actor", "reanalyzer", "replay", "learner"):
        before = compose.status()
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

    hung = compose.running("evaluator")[0]
    compose.signal(hung, signal.SIGSTOP)
    took = compose.wait_until(
        "the hung evaluator to be unhealthy",
        lambda: "unhealthy" in compose.health("evaluator"),
        PATIENCE_S,
    )
    note(f"hung evaluator unhealthy after {took:.1f} s")
    assert {h for r in ROLES[:4] for h in compose.health(r)} == {"healthy"}
    compose.signal(hung, signal.SIGCONT)

    compose.up(actor=3, reanalyzer=1)
    compose.wait_for_status("three actors", lambda s: len(alive(s, "actor")) == 3, PATIENCE_S)
    compose.up(actor=1, reanalyzer=1)
    compose.wait_for_status(
        "one actor", lambda s: len(alive(s, "actor")) == 1 and s["train_steps"] > 0, PATIENCE_S
    )
    note("scaled to three actors and one reanalyzer, and to one actor")

    before = compose.status()
    compose("down", "--timeout", "90")
    compose.up(actor=2, reanalyzer=1)
    resumed = compose.wait_for_status("resumed training", lambda s: s["train_steps"] > 0)
    assert resumed["train_steps"] >= before["train_steps"]
    note(f"down at train_step {before['train_steps']}, up at {resumed['train_steps']}")
    compose.wait_until("the end", lambda: not compose.running("learner"), 2 * PATIENCE_S)


def test_learner_ends_with_0_at_the_budget(toured):
    (learner,) = toured.containers("learner")
    assert learner["State"]["ExitCode"] == 0, toured.logs("learner")
    evaluations = toured.read("/runs/run/evaluations.jsonl").splitlines()
    last = json.loads(evaluations[-1])
    assert last["is_final"]
    assert last["env_steps"] == ENV_STEPS
    assert last["weights_version"] == TRAIN_STEPS + LAST_TRAIN_STEPS


def test_run_went_on_from_its_checkpoint_and_its_snapshot(toured):
    assert "resumed at train_step" in toured.logs("learner")
    assert "restored snapshot" in toured.logs("replay")


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
