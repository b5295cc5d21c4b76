"""Replay beyond one host: the address it listens at, and containers in which all are process 1."""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from efficientzero.config.fields import ClusterConfig, Config, LearnerConfig, ReplayConfig
from efficientzero.process.free_ports import free_port
from efficientzero.process.runtime import EXIT_FINAL, StopSignal
from efficientzero.rpc.credentials import CREDENTIALS_VARIABLE
from efficientzero.runs.run_folder import RunInfo
from efficientzero.schema import Ending, Shown
from replay.info import ReplayInfo, connection_problem, wait_until_ready
from replay.relay.client import RelayClient
from replay.service.address import listening_addresses
from replay.steps.episode_writer import EpisodeWriter
from replay.steps.slice_sampler import SliceSampler
from tests.support.cases.replay_cases import IMAGES, random_episode

pytestmark = pytest.mark.reverb

ROOT = Path(__file__).parents[3]
PATIENCE_S = 60.0
AS_PROCESS_1 = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")

WRITE_AND_SAMPLE = """
import os, sys
import numpy as np
from efficientzero.process.runtime import StopSignal
from efficientzero.schema import Ending, Shown
from replay.steps.episode_writer import EpisodeWriter
from replay.steps.slice_sampler import SliceSampler
from tests.integration.replay.test_replay_hosts import CONFIG
from tests.support.cases.replay_cases import IMAGES, random_episode

address, stop = sys.argv[1], StopSignal()
episode = random_episode(
    IMAGES, np.random.default_rng(0), number=0, length=40, ending=Ending.TERMINATED
)
writer = EpisodeWriter(address, IMAGES, CONFIG, stop)
for t in range(len(episode)):
    writer.append(episode.step(t))
writer.end(Shown(episode.frames[-1]), episode.ending)
writer.close()
batch = SliceSampler(address, IMAGES, CONFIG, stop).sample(8, timeout_s=30.0)
print("process", os.getpid(), "sampled", len(batch.frames), flush=True)
os._exit(0)
"""

CONFIG = Config(
    learner=LearnerConfig(batch_size=8),
    replay=ReplayConfig(capacity=1_000, priority_exponent=1.0),
)


class Service:
    """One replay process. Use as a context manager."""

    def __init__(
        self, folder: Path, host: str, *, before: tuple[str, ...] = (), has_relay: bool = False
    ) -> None:
        self.port = free_port()
        self.inner_port = free_port() if has_relay else self.port
        config = Config(
            learner=CONFIG.learner,
            replay=CONFIG.replay,
            cluster=ClusterConfig(
                bind_host=host, replay_port=self.port, learner_port=1, replay_tls=has_relay
            ),
        )
        run = RunInfo(
            run_id="test",
            run_uid="00000000",
            group="test",
            directory=folder,
            config=config,
            env_spec=IMAGES,
            replay_address=f"{'127.0.0.1' if has_relay else host}:{self.inner_port}",
            learner_address="127.0.0.1:1",
            tracking_mode="disabled",
            versions={},
        )
        run.save()
        self._command = [*before, sys.executable, "-m", "replay", "--config", str(run.config_path)]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, cwd=ROOT, stderr=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.process.kill()
        self.process.communicate()

    def is_ready_at(self, host: str) -> bool:
        return wait_until_ready(f"{host}:{self.port}", StopSignal(), timeout_s=PATIENCE_S)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2"])
def test_replay_listens_at_the_chosen_address_and_no_other(tmp_path, host):
    with Service(tmp_path, host) as service:
        assert service.is_ready_at(host)
        assert listening_addresses(service.port) == [host]
        other = {"127.0.0.1": "127.0.0.2", "127.0.0.2": "127.0.0.1"}[host]
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((other, service.port), timeout=5.0)


def test_replay_can_listen_at_all_addresses_of_a_private_network(tmp_path):
    with Service(tmp_path, "0.0.0.0") as service:
        assert service.is_ready_at("127.0.0.2")
        assert listening_addresses(service.port) == ["0.0.0.0"]


def test_replay_refuses_a_public_address_for_good(tmp_path):
    with Service(tmp_path, "8.8.8.8") as service:
        assert service.process.wait(PATIENCE_S) == EXIT_FINAL
        assert (
            "replay has no login: wanted an address of a private" in service.process.stderr.read()
        )


def write_episode(address: str, number: int) -> None:
    episode = random_episode(
        IMAGES, np.random.default_rng(0), number=number, length=40, ending=Ending.TERMINATED
    )
    writer = EpisodeWriter(address, IMAGES, CONFIG, StopSignal())
    for t in range(len(episode)):
        writer.append(episode.step(t))
    writer.end(Shown(episode.frames[-1]), episode.ending)
    writer.close()


@pytest.mark.slow
def test_others_reach_replay_through_its_relay_alone(tmp_path, monkeypatch):
    credentials = tmp_path / "credentials"
    subprocess.run([ROOT / "deploy/scripts/make_certs.sh", credentials], check=True, timeout=60)
    monkeypatch.setenv(CREDENTIALS_VARIABLE, str(credentials))
    with Service(tmp_path / "run", "0.0.0.0", has_relay=True) as service:
        relay = f"127.0.0.2:{service.port}"
        stop = StopSignal()
        way = RelayClient(f"tls://{relay}", stop, folder=credentials).address
        assert wait_until_ready(way, stop, timeout_s=PATIENCE_S)
        assert listening_addresses(service.port) == ["0.0.0.0"]
        assert listening_addresses(service.inner_port) == ["127.0.0.1"]
        write_episode(way, 0)
        sampler = SliceSampler(way, IMAGES, CONFIG, stop)
        assert len(sampler.sample(8, timeout_s=PATIENCE_S).frames) == 8

        stranger = ReplayInfo(relay)  # Reverb's own client, in plain text
        assert stranger.read(timeout_s=1) is None
        silent = [socket.create_connection(("127.0.0.2", service.port), 5.0) for _ in range(50)]
        assert ReplayInfo(way).read().num_steps == 40

        # To Reverb's client a relay that goes away is a server that does.
        service.process.kill()
        service.process.communicate()
        assert connection_problem(way)
        service.start()
        assert wait_until_ready(way, stop, timeout_s=PATIENCE_S)
        write_episode(way, 1)
        deadline = time.monotonic() + PATIENCE_S
        while (batch := sampler.sample(8, timeout_s=1.0)) is None:
            assert time.monotonic() < deadline
        assert len(batch.frames) == 8
        for connection in silent:
            connection.close()
        stop.set("end of the test")


@pytest.mark.slow
def test_replay_beyond_loopback_does_not_start_without_credentials(tmp_path, monkeypatch):
    monkeypatch.delenv(CREDENTIALS_VARIABLE, raising=False)
    with Service(tmp_path, "0.0.0.0", has_relay=True) as service:
        assert service.process.wait(PATIENCE_S) == EXIT_FINAL
        [line] = [line for line in service.process.stderr if "cluster.bind_host" in line]
        assert "wanted --credentials DIR" in line


needs_namespaces = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare"), reason="namespaces need root and unshare"
)


@needs_namespaces
def test_client_that_is_process_1_samples_from_a_server_that_is_process_1(tmp_path):
    with Service(tmp_path, "127.0.0.1", before=AS_PROCESS_1) as service:
        assert service.is_ready_at("127.0.0.1")
        started = time.monotonic()
        done = subprocess.run(
            [*AS_PROCESS_1, sys.executable, "-c", WRITE_AND_SAMPLE, f"127.0.0.1:{service.port}"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, (done.stderr, time.monotonic() - started)
        assert done.stdout.split() == ["process", "1", "sampled", "8"]
