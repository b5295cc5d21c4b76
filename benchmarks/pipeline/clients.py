"""Many real weight clients in a few processes, for ``pipeline_learner``.

Run as a module it is one of the processes: it prints, for each publication that one of its clients
got, the train_step and the time of the system's monotonic clock.
"""

from __future__ import annotations

import queue
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from efficientzero.config import Config, load_preset
from efficientzero.envs import probe_env_spec
from efficientzero.networks import make_network
from efficientzero.process.guarded_thread import guarded_thread
from efficientzero.process.runtime import StopSignal
from efficientzero.rpc.stubs import weights_pb2
from efficientzero.rpc.weight_client import WeightClient
from learner.pacing import Governor
from learner.records import RunRecord
from learner.services import GrpcServer
from learner.weights import WeightPublisher

NUM_CLIENTS = 64
_PROCESSES = 4
_LOOK_S = 0.005
_PATIENCE_S = 120.0

ArrivalsOf = Callable[[int], list[float]]
"""Waits until all clients have the weights of a train_step; monotonic seconds of each."""


@contextmanager
def weight_clients(publisher: WeightPublisher, preset: str) -> Iterator[ArrivalsOf]:
    """Serve ``publisher`` to 64 clients, which expect the weights of a preset's network."""
    lines: queue.Queue[str] = queue.Queue()
    stop = StopSignal()
    with tempfile.TemporaryDirectory() as folder:
        server = GrpcServer(
            "127.0.0.1:0",
            governor=Governor(Config()),
            publisher=publisher,
            record=RunRecord(Path(folder)),
        )
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.pipeline.clients", server.address, preset],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(_PROCESSES)
        ]
        for process in processes:
            guarded_thread(_pass_on, stop, name="clients", args=(process, lines))
        try:
            for _ in processes:
                lines.get(timeout=_PATIENCE_S)  # its clients are there

            def arrivals_of(train_step: int) -> list[float]:
                times: list[float] = []
                while len(times) < NUM_CLIENTS:
                    step, seconds = lines.get(timeout=_PATIENCE_S).split()
                    if int(step) == train_step:
                        times.append(float(seconds))
                return times

            yield arrivals_of
        finally:
            for process in processes:
                process.kill()
                process.wait()
            server.close(0.0)


def _pass_on(process: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)


def _follow(address: str, preset: str) -> None:
    torch.set_num_threads(1)
    config = load_preset(preset)
    network = make_network(config, probe_env_spec(config.env), training=False)
    expected, stop = network.inference_state_dict(), StopSignal()
    clients = [
        WeightClient(address, weights_pb2.LATEST, expected, stop)
        for _ in range(NUM_CLIENTS // _PROCESSES)
    ]
    print("ready", flush=True)
    # Ended from outside, or by the end of the process that reads this output.
    while True:
        time.sleep(_LOOK_S)
        for client in clients:
            if (weights := client.take_newer()) is not None:
                print(weights.train_step, time.monotonic(), flush=True)


if __name__ == "__main__":
    _follow(sys.argv[1], sys.argv[2])
