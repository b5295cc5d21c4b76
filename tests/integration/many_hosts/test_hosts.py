"""One run over three hosts with addresses of their own: a cut cable, a long one, a killed actor.

Run it alone, as root, with iproute2:
``python -m pytest tests/integration/many_hosts/test_hosts.py``.
"""

import json
import subprocess

import pytest

from tests.integration.hosts import CHECKOUT, HostNetwork, wait_until, what_is_missing
from tests.integration.local_runs import TINY

pytestmark = [pytest.mark.slow, pytest.mark.reverb]

ENV_STEPS, TRAIN_STEPS, LAST_TRAIN_STEPS = 1203, 180, 6
BUDGET = (
    *("--budget.env-steps", str(ENV_STEPS), "--budget.warmup-env-steps", "100"),
    *("--budget.train-steps", str(TRAIN_STEPS)),
    *("--budget.last-train-steps", str(LAST_TRAIN_STEPS)),
    *("--learner.checkpoint-interval", "20"),
    *("--evaluator.interval-train-steps", "60", "--evaluator.num-episodes", "2"),
    *("--evaluator.final-num-episodes", "3"),
)
ACTORS = 2
IN_FLIGHT = 8 * 9  # environments of an actor, env_steps of an episode
DELAY_MS = 20.0
PATIENCE_S = 600.0


class Cluster:
    """The hosts, what runs on them, and what the learner says of them."""

    def __init__(self, network, folder):
        self.network, self.folder = network, folder
        credentials = folder / "credentials"
        script = CHECKOUT / "deploy" / "scripts" / "make_certs.sh"
        subprocess.run([script, credentials], check=True, capture_output=True)
        self.env = {"EFFICIENTZERO_CREDENTIALS": str(credentials)}
        self.head = network.add("head")
        self.far = network.add("far", delay_ms=DELAY_MS)
        self.near = network.add("near")
        self.learner = f"{self.head.address}:7400"
        self.run = folder / "runs" / "run"
        self.workers, self.left, self.watchers = [], [], {}

    def serve(self):
        return self.network.start(
            self.head,
            *("launch.py", "--serve", "--runs-dir", str(self.run.parent), "--run-id", "run"),
            *("--cluster.bind-host", self.head.address),
            *("--cluster.learner-port", "7400", "--cluster.replay-port", "7401"),
            *(*TINY, *BUDGET, "--seed", "3"),
            env=self.env,
        )

    def work(self, host, module):
        """Start a worker, and start it again whenever it leaves with 1, as its host would."""
        folder = self.folder / host.name
        command = ("-m", module, "--join", self.learner, "--runs-dir", str(folder))
        self.workers.append((host, command, self.network.start(host, *command, env=self.env)))

    def restart_those_that_left(self):
        for number, (host, command, process) in enumerate(self.workers):
            if process.process.poll() == 1:
                self.left.append(process)
                again = self.network.start(host, *command, env=self.env)
                self.workers[number] = (host, command, again)

    def status(self, host):
        """Return the last answer the learner gave on ``host``; None before the first."""
        if host not in self.watchers:
            watch = ("tests/integration/watch_status.py", self.learner)
            self.watchers[host] = self.network.start(host, *watch, env=self.env)
        lines = self.watchers[host].output.splitlines(keepends=True)
        answers = [line for line in lines if line.startswith("{") and line.endswith("}\n")]
        return json.loads(answers[-1]) if answers else None

    def wait_for(self, what, is_reached, head, *, host=None):
        seen = []

        def look():
            self.restart_those_that_left()
            status = self.status(host or self.head)
            seen[:] = [status] if status else seen
            return status is not None and is_reached(status)

        processes = [process for _, _, process in self.workers]
        wait_until(what, look, PATIENCE_S, head, others=processes)
        return seen[0]


def actors(status, *states):
    return [p for p in status["processes"] if p["role"] == "actor" and p["state"] in states]


def indices(status, *states):
    return {actor["index"] for actor in actors(status, *states)}


@pytest.fixture(scope="module")
def toured(tmp_path_factory):
    """A run to its budget: an actor killed, the actors' cable cut for seconds, a worker moved."""
    missing = what_is_missing()
    if missing:
        pytest.skip(missing)
    folder = tmp_path_factory.mktemp("hosts")
    with HostNetwork() as network:
        cluster = Cluster(network, folder)
        # In no order: whoever comes first waits.
        cluster.work(cluster.far, "actor")
        cluster.work(cluster.far, "actor")
        cluster.work(cluster.near, "reanalyzer")
        head = cluster.serve()
        cluster.work(cluster.near, "actor.evaluator")
        cluster.from_far = cluster.wait_for(
            "both actors' work",
            lambda s: s["train_steps"] > 10,
            head,
            host=cluster.far,
        )
        host, command, victim = cluster.workers[0]
        victim.kill()
        again = network.start(host, *command, env=cluster.env)
        cluster.workers[0] = (host, command, again)
        before = cluster.wait_for(
            "training by two actors",
            lambda s: s["train_steps"] > 40 and len(actors(s, "alive")) == ACTORS,
            head,
        )
        cluster.far.cut()
        # The place of the one killed may be known as lost beside them.
        playing = indices(before, "alive")
        late = cluster.wait_for(
            "actors that are late", lambda s: playing <= indices(s, "late", "lost"), head
        )
        cluster.far.heal()
        cluster.wait_for(
            "the actors' return",
            lambda s: len(actors(s, "alive")) == ACTORS and s["env_steps"] > late["env_steps"],
            head,
        )
        cluster.before_cut, cluster.while_cut = before, late
        cluster.head_code = head.wait(PATIENCE_S)
        last = [process for _, _, process in cluster.workers]
        cluster.worker_codes = [process.wait(60) for process in last]
        cluster.output = head.output
        cluster.worker_output = "".join(process.output for process in last)
        yield cluster


def test_run_over_three_hosts_reaches_its_budget_exactly(toured):
    assert toured.head_code == 0, toured.output
    summary = json.loads((toured.run / "summary.json").read_text())
    assert summary["exit_reason"] == "budget"
    assert summary["env_steps"] == ENV_STEPS
    assert summary["train_steps"] == TRAIN_STEPS + LAST_TRAIN_STEPS
    assert summary["eval_is_final"]
    # Of the actor that was killed, and of those that lost their places in the cut.
    assert summary["env_steps_lost"] <= IN_FLIGHT * (1 + len(toured.left))
    stamp = summary["fairness"]
    assert stamp["replay_ratio"] == pytest.approx(stamp["configured_replay_ratio"], rel=0.05)


def test_workers_leave_with_0_when_the_run_is_over(toured):
    assert toured.worker_codes == [0, 0, 0, 0], toured.worker_output
    assert "Traceback" not in toured.worker_output + toured.output


def test_status_from_another_host_names_everybody_and_where_they_run(toured):
    found = {(p["role"], p["host"]) for p in toured.from_far["processes"]}
    assert found >= {("learner", "head"), ("actor", "far"), ("reanalyzer", "near")}
    indices = sorted(p["index"] for p in actors(toured.from_far, "alive"))
    assert indices == list(range(ACTORS))


def test_cut_cable_is_seen_and_training_goes_on_from_what_is_there(toured):
    playing = indices(toured.before_cut, "alive")
    assert len(playing) == ACTORS
    assert playing <= indices(toured.while_cut, "late", "lost")
