"""No thread dies in silence: whatever one raises ends its role, with a traceback and a failure."""

import ast
import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest

from deploy.launching.tokens import make_local_credentials
from deploy.supervising import monitor as monitor_module
from deploy.supervising.child import Child, child_environment
from deploy.supervising.monitor import RunMonitor
from deploy.supervising.stop_requests import StopRequests
from deploy.supervising.topology import ProcessSpec
from efficientzero.envs.hang_watch import watch_for_hangs
from efficientzero.metrics import wandb_tracker
from efficientzero.metrics.wandb_tracker import WandbTracker
from efficientzero.process import runtime
from efficientzero.process.guarded_thread import guarded_thread
from efficientzero.process.runtime import StopSignal, ThreadFailed
from efficientzero.rpc.stubs import weights_pb2
from efficientzero.rpc.weight_client import WeightClient
from efficientzero.runs.results.run_summary import Outcome
from efficientzero.worker.joining import new_seat
from efficientzero.worker.membership import Membership
from learner.batches.feeder import BatchFeeder
from learner.cluster import replay_follower
from learner.cluster.watch import ClusterWatch
from learner.records.saver import CheckpointSaver
from learner.services.gate import Gate
from learner.services.held_calls import HeldCalls
from replay.driver.quarantine import Quarantine
from replay.relay import client
from replay.relay import server as relay
from replay.snapshots import request as snapshot_request
from replay.steps.priorities import PriorityUpdater
from replay.steps.slice_sampler import SampleStream
from replay.training_queue import TrainingQueueReader
from tests.support.fakes import tiny_config, tiny_run

ROOT = Path(__file__).resolve().parents[4]
PRODUCT = ("actor", "deploy", "efficientzero", "learner", "reanalyzer", "replay")
PATIENCE_S = 60.0
ADDRESS = "127.0.0.1:1"  # nobody listens there


class Broken(BaseException):
    """What no ``except Exception`` holds up, as ``SystemExit`` from a library is."""


def raising(*args, **kwargs):
    del args, kwargs
    raise Broken("broken")


def tracker(folder, stop):
    return WandbTracker(
        mode="disabled",
        entity="e",
        project="p",
        group="g",
        seed=0,
        run_uid="0123abcd",
        role="actor",
        index=0,
        config={},
        directory=folder,
        stop=stop,
    )


def start_heartbeat(patch, folder, stop):
    patch.setattr(Membership, "_beat_on", raising)
    Membership(tiny_run(folder, tiny_config()), new_seat("actor"), stop)


def start_weight_client(patch, folder, stop):
    patch.setattr(WeightClient, "_follow", raising)
    WeightClient(ADDRESS, weights_pb2.LATEST, {}, stop)


def start_batch_feeder(patch, folder, stop):
    patch.setattr(BatchFeeder, "_run", raising)
    BatchFeeder(None, None, None, stop).start()


def start_cluster_watch(patch, folder, stop):
    watch = ClusterWatch(
        *(None, None, None),
        vitals=raising,
        replay_address=ADDRESS,
        incarnation=0,
        has_evaluator=False,
    )
    patch.setattr(ClusterWatch, "look", raising)
    patch.setattr("learner.cluster.watch._LOOK_S", 0.0)
    watch.follow(stop)


def start_replay_follower(patch, folder, stop):
    patch.setattr(replay_follower, "_LOOK_S", 0.0)
    patch.setattr(replay_follower, "ReplayInfo", lambda address: SimpleNamespace(read=raising))
    replay_follower.follow_replay(
        tiny_run(folder, tiny_config()),
        None,
        starvation=None,
        record=None,
        fairness=None,
        watch=None,
        stop=stop,
    )


def start_priority_updater(patch, folder, stop):
    patch.setattr(PriorityUpdater, "_run", raising)
    PriorityUpdater(ADDRESS, stop)


def start_quarantine(patch, folder, stop):
    patch.setattr(Quarantine, "_run", raising)
    Quarantine("item", ADDRESS, "steps", stop).drop("no item", key=1)


def start_relay(patch, folder, stop):
    patch.setattr(relay, "server_tls", lambda folder: None)
    patch.setattr(relay.Relay, "_accept", raising)
    relay.Relay(ADDRESS.replace(":1", ":0"), ADDRESS, stop, folder=make_local_credentials(folder))


def start_relay_client(patch, folder, stop):
    patch.setattr(client, "client_tls", lambda folder: None)
    patch.setattr(client.RelayClient, "_accept", raising)
    client.RelayClient(f"tls://{ADDRESS}", stop, folder=make_local_credentials(folder))


def start_hang_watch(patch, folder, stop):
    watch_for_hangs(raising, stop, most_s=0.01)


def start_sample_stream(patch, folder, stop):
    patch.setattr(SampleStream, "_run", raising)
    SampleStream(ADDRESS, stop, max_in_flight=1, num_ahead=1)


def start_training_queue(patch, folder, stop):
    patch.setattr(TrainingQueueReader, "_run", raising)
    run = tiny_run(folder, tiny_config())
    reader = TrainingQueueReader(ADDRESS, run.env_spec, run.config, stop)
    assert reader.get(timeout_s=PATIENCE_S) is None
    assert stop.is_set()  # long before the timeout


def start_snapshot(patch, folder, stop):
    patch.setattr(snapshot_request.reverb_lite, "load", raising)
    with pytest.raises(snapshot_request.SnapshotFailed, match="ended without an answer"):
        snapshot_request.request_snapshot(ADDRESS, timeout_s=PATIENCE_S, give_up=stop)


def start_checkpoint(patch, folder, stop):
    patch.setattr(CheckpointSaver, "_write", raising)
    CheckpointSaver(folder, keep=1, stop=stop).save({"train_step": 1}, wait=False)


def start_wandb_writer(patch, folder, stop):
    patch.setattr(WandbTracker, "_write", raising)
    tracker(folder, stop)


def start_wandb_init(patch, folder, stop):
    patch.setattr(WandbTracker, "_write", lambda self, mode: None)
    patch.setattr(WandbTracker, "_ask_online", raising)
    patch.setattr(wandb_tracker, "_ONLINE_PATIENCE_S", 0.1)
    patch.setattr(wandb_tracker, "_LAST_PATIENCE_S", 0.1)
    assert tracker(folder, stop)._start_online(None) is None


def start_stop_watchdog(patch, folder, stop):
    patch.setattr(runtime.signal, "signal", lambda signum, handler: None)
    patch.setattr(stop, "wait", raising)
    runtime.install_stop_handlers(stop)


def start_child(patch, folder, stop):
    child = Child(
        ProcessSpec(role="actor", index=0, argv=("/bin/echo", "a line")),
        log_dir=folder,
        env=child_environment(os.environ, run_uid="0123abcd", launch="0", threads=1),
        sink=raising,
        stop=stop,
    )
    child.start()
    child.finish_reading(PATIENCE_S)


def start_monitor(patch, folder, stop):
    patch.setattr(monitor_module, "_INTERVAL_S", 0.0)
    monitor = RunMonitor(raising, evaluations_path=folder / "none", show=raising, stop=stop)
    monitor.__enter__()
    monitor.__exit__()


STARTS = {
    "heartbeat": start_heartbeat,
    "weight-client": start_weight_client,
    "batch-feeder": start_batch_feeder,
    "cluster": start_cluster_watch,
    "replay-counts": start_replay_follower,
    "priority-updater": start_priority_updater,
    "quarantine": start_quarantine,
    "replay-relay": start_relay,
    "relay-client": start_relay_client,
    "env-hangs": start_hang_watch,
    "slice-sampler": start_sample_stream,
    "training-queue": start_training_queue,
    "replay-snapshot": start_snapshot,
    "checkpoint": start_checkpoint,
    "wandb-writer": start_wandb_writer,
    "wandb-init": start_wandb_init,
    "stop-watchdog": start_stop_watchdog,
    "read-{}": start_child,
    "monitor": start_monitor,
}
"""By the thread's name, as it is written where it is started."""


def written_name(value: ast.expr) -> str:
    if isinstance(value, ast.JoinedStr):
        return "".join(p.value if isinstance(p, ast.Constant) else "{}" for p in value.values)
    assert isinstance(value, ast.Constant)
    return value.value


def test_every_thread_of_the_product_has_a_test_here():
    names = []
    for path in [ROOT / "launch.py", *(p for f in PRODUCT for p in (ROOT / f).rglob("*.py"))]:
        if path.name == "guarded_thread.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            called = node.func if isinstance(node, ast.Call) else None
            if isinstance(called, ast.Name) and called.id in ("guarded_thread", "GuardedThread"):
                names += [written_name(k.value) for k in node.keywords if k.arg == "name"]
    assert sorted(names) == sorted(STARTS)


@pytest.mark.parametrize("name", STARTS)
def test_a_raising_thread_sets_its_process_stop_signal_with_its_traceback(
    name, monkeypatch, tmp_path, caplog
):
    stop = StopSignal()
    STARTS[name](monkeypatch, tmp_path, stop)
    assert StopSignal.wait(stop, PATIENCE_S)
    monkeypatch.undo()
    full_name = name.format("actor-0")
    with pytest.raises(
        ThreadFailed, match=f"its thread {full_name} failed: Broken: broken"
    ) as info:
        stop.check()
    assert isinstance(info.value.__cause__, Broken)
    (record,) = [r for r in caplog.records if r.levelno == logging.CRITICAL]
    assert record.getMessage() == f"thread {full_name} failed"
    assert "in raising" in record.exc_text or "in raising" in formatted(record)


def formatted(record):
    return logging.Formatter().format(record)


ROLE = """
import sys, time
from efficientzero.process.guarded_thread import guarded_thread
from efficientzero.process.runtime import exit_now, run_role

def work():
    {work}

def main(stop):
    guarded_thread(work, stop, name="reader")
    {wait}

exit_now(run_role("actor", 3, main, exit_grace_s={grace_s}))
"""


@pytest.mark.parametrize(
    ("work", "wait", "grace_s", "code", "words"),
    [
        ("{}['lost']", "stop.wait(600)", 60.0, 1, "KeyError: 'lost'"),
        ("sys.exit()", "stop.wait(600)", 60.0, 1, "SystemExit"),
        ("{}['lost']", "time.sleep(600)", 0.2, 70, "KeyError: 'lost'"),  # a main thread that hangs
    ],
)
def test_a_role_ends_with_its_threads_traceback_and_a_failures_exit_code(
    work, wait, grace_s, code, words
):
    done = subprocess.run(
        [sys.executable, "-c", ROLE.format(work=work, wait=wait, grace_s=grace_s)],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == code
    assert "actor-3 CRITICAL thread reader failed" in done.stderr
    assert "Traceback" in done.stderr and words in done.stderr
    if code == 1:
        assert "actor-3 ERROR actor-3 failed: its thread reader failed" in done.stderr


def test_the_first_failure_is_the_one_that_is_reported(caplog):
    stop = StopSignal()
    for number in (1, 2):
        guarded_thread(lambda n=number: 1 // (n - n), stop, name=f"t{number}").join(PATIENCE_S)
    assert stop.failure is not None
    assert stop.failure.thread == "t1"


def test_a_failed_thread_of_the_launcher_fails_the_run():
    requests = StopRequests()
    requests.stop.fail("monitor", KeyError("phase"))
    reason = "failed: the launcher: its thread monitor failed: KeyError: 'phase'"
    assert requests.outcome() == Outcome(1, reason)


@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream"])
def test_a_service_that_raises_shows_its_traceback_and_the_server_goes_on(kind, caplog):
    """A stranger who finds such a call must not be able to end the learner with it."""

    def answer(request, context):
        if request == b"bad":
            raise KeyError("lost")
        return b"good"

    def stream(request, context):
        yield answer(request, context)

    behave = answer if kind == "unary_unary" else stream
    handler = getattr(grpc, f"{kind}_rpc_method_handler")(behave, request_deserializer=bytes)
    held = HeldCalls(most=1, most_of_a_host=1)
    server = grpc.server(ThreadPoolExecutor(2), interceptors=[Gate(None, held=held)])
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("Run", {"Get": handler})])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = getattr(channel, kind)("/Run/Get")

            def get(request):
                answered = call(request, timeout=PATIENCE_S)
                return answered if kind == "unary_unary" else next(answered)

            with pytest.raises(grpc.RpcError) as refused:
                get(b"bad")
            assert refused.value.code() is grpc.StatusCode.UNKNOWN
            assert get(b"good") == b"good"
    finally:
        server.stop(0).wait(PATIENCE_S)
    assert "Traceback" in caplog.text
    assert "KeyError: 'lost'" in caplog.text


BARE = [
    "import threading\nthreading.Thread(target=print).start()\n",
    "from threading import Thread\nThread(target=print).start()\n",
    "import threading\nthreading.Timer(1.0, print).start()\n",
    "import _thread\n_thread.start_new_thread(print, ())\n",
    "from concurrent.futures import ThreadPoolExecutor\nThreadPoolExecutor(1)\n",
    "from concurrent import futures\nfutures.ThreadPoolExecutor(1)\n",
    "import concurrent.futures\nconcurrent.futures.ProcessPoolExecutor(1)\n",
    "import multiprocessing\nmultiprocessing.Process(target=print).start()\n",
    "from multiprocessing.pool import ThreadPool\nThreadPool(1)\n",
    "import torch.multiprocessing\ntorch.multiprocessing.spawn(print)\n",
    "import threading\n\n\nclass Own(threading.Thread):\n    pass\n",
]


@pytest.mark.parametrize("source", BARE)
def test_lint_refuses_a_bare_thread(source):
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--stdin-filename", "replay/new.py", "-"],
        input=source,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        cwd=ROOT,
    )
    assert "TID251" in done.stdout
    assert done.returncode == 1
