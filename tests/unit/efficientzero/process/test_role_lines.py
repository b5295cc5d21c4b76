"""The roles' command lines: what they refuse, and what they take from their surroundings."""

import dataclasses
import os
import sys

import pytest

from efficientzero.config import role_device
from efficientzero.rpc.credentials import CREDENTIALS_VARIABLE
from efficientzero.worker.role_arguments import bypass_proxies, parse_server_line, parse_worker_line
from efficientzero.worker.worker import DeviceRefused, with_device
from tests.support.fakes import tiny_config, tiny_run


def refused(monkeypatch, capsys, *arguments, parse=parse_worker_line) -> str:
    monkeypatch.setattr(sys, "argv", ["role", *arguments])
    with pytest.raises(SystemExit) as ended:
        parse("actor", None)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_worker_wants_an_address_or_a_file_and_not_both(monkeypatch, capsys):
    for arguments in ((), ("--join", "host:7400", "--config", "config.json")):
        said = refused(monkeypatch, capsys, *arguments)
        assert said == "actor: error: got both or none of --join and --config, wanted one"


@pytest.mark.parametrize("address", ["host", "host:", ":7400", "host:x"])
def test_address_without_host_or_port_is_refused(monkeypatch, capsys, address):
    said = refused(monkeypatch, capsys, "--join", address)
    assert said == f"actor: error: --join: got {address}, wanted host:port"


@pytest.mark.parametrize(("port", "extent"), [("0", "small"), ("70000", "large")])
def test_a_port_that_there_is_not_is_refused(monkeypatch, capsys, port, extent):
    said = refused(monkeypatch, capsys, "--join", f"host:{port}")
    assert said.startswith(f"actor: error: --join: got host:{port}, whose port is too {extent}: ")


def test_worker_that_joins_needs_nothing_else(monkeypatch, tmp_path):
    monkeypatch.setenv(CREDENTIALS_VARIABLE, "before")
    arguments = ["role", "--join", "learner:7400", "--credentials", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    assert parse_worker_line("actor", None).join == "learner:7400"
    assert os.environ[CREDENTIALS_VARIABLE] == str(tmp_path)


def test_worker_takes_a_device_and_refuses_what_is_none(monkeypatch, capsys, tmp_path):
    said = refused(monkeypatch, capsys, "--join", "host:7400", "--device", "gpu")
    assert said == "actor: error: --device: got gpu, wanted auto, cpu, cuda or cuda:N"
    monkeypatch.setattr(sys, "argv", ["role", "--join", "host:7400", "--device", "cuda:1"])
    assert parse_worker_line("actor", None).device == "cuda:1"


def test_a_workers_own_device_counts_more_than_the_runs(tmp_path):
    run = tiny_run(tmp_path, tiny_config())
    assert with_device(run, "actor", "") is run
    moved = with_device(run, "actor", "cuda:1")
    assert role_device(moved.config.cluster, "actor", 3) == "cuda:1"
    assert role_device(moved.config.cluster, "reanalyzer", 3) == run.config.cluster.device
    assert moved.config_hash == run.config_hash
    cluster = dataclasses.replace(run.config.cluster, deterministic=True)
    run = dataclasses.replace(run, config=dataclasses.replace(run.config, cluster=cluster))
    with pytest.raises(DeviceRefused, match=r"cluster.actor_device: got 'cuda:1', wanted"):
        with_device(run, "actor", "cuda:1")
    assert DeviceRefused.is_permanent


def test_server_waits_for_its_file_no_longer_than_it_may(monkeypatch, capsys, tmp_path):
    path = str(tmp_path / "config.json")
    monkeypatch.setattr(sys, "argv", ["role", "--config", path, "--config-wait", "0.1"])
    with pytest.raises(SystemExit) as ended:
        parse_server_line("replay", None)
    waiting, said = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2
    assert waiting == f"replay: waiting for {path}"
    assert "No such file" in said


def test_proxies_are_bypassed_for_the_hosts_of_a_run_and_those_named_before(monkeypatch):
    monkeypatch.setenv("no_proxy", "example.org")
    bypass_proxies("10.0.0.5:7400", "replay:7401")
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == "example.org,10.0.0.5,replay"
