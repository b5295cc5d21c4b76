"""What callers without the right token can do to a learner: nothing, and at no cost to others."""

import logging
import os
import re
import socket
import stat
import tempfile
import threading
import time
from pathlib import Path

import grpc
import pytest

from deploy.launching import tokens
from deploy.launching.tokens import make_local_credentials
from efficientzero.rpc.channel import open_channel
from efficientzero.rpc.credentials import (
    CREDENTIALS_VARIABLE,
    CredentialsError,
    read_read_token,
    read_token,
)
from efficientzero.rpc.refusals import Refusals
from efficientzero.rpc.stubs import cluster_pb2, league_pb2, run_pb2, weights_pb2
from learner.services import held_calls
from tests.integration.many_hosts.test_joining import Learner
from tests.support.half_open import check_answers_are_prompt, half_open_calls

PAGE = Path(__file__).resolve().parents[3] / "docs" / "guide" / "security.md"
RELAY = "replay's relay"
"""Its row is held by tests/unit/replay/relay/test_relay.py."""
SERVICES = [
    file.services_by_name[name]
    for file, name in (
        (run_pb2.DESCRIPTOR, "RunService"),
        (cluster_pb2.DESCRIPTOR, "ClusterService"),
        (weights_pb2.DESCRIPTOR, "WeightService"),
        (league_pb2.DESCRIPTOR, "LeagueService"),
    )
]
METHODS = [method for service in SERVICES for method in service.methods]


@pytest.fixture
def learner(tmp_path, monkeypatch):
    monkeypatch.setenv(CREDENTIALS_VARIABLE, str(make_local_credentials(tmp_path)))
    learner = Learner(tmp_path)
    yield learner
    learner.server.close(0.0)


def test_two_thousand_half_open_calls_hold_nobody_up(learner, caplog):
    with caplog.at_level(logging.WARNING), half_open_calls(learner.address, 2_000) as refused:
        check_answers_are_prompt(learner.address)
    assert refused == [2_000]
    lines = [r for r in caplog.records if "refused a call of" in r.getMessage()]
    assert len(lines) == 1, "one line a minute for each peer and cause"


@pytest.mark.parametrize("right", ["token", "read_token"])
def test_half_open_calls_with_a_token_hold_nobody_up(learner, right):
    token = (Path(os.environ[CREDENTIALS_VARIABLE]) / right).read_text().strip()
    with half_open_calls(learner.address, 1_200, token):
        check_answers_are_prompt(learner.address)


def test_a_half_open_call_ends_by_itself_and_leaves_no_line(learner, caplog, monkeypatch):
    monkeypatch.setattr(held_calls, "MESSAGE_S", 1.0)
    token = read_token(Path(os.environ[CREDENTIALS_VARIABLE]))
    metadata = (("authorization", f"Bearer {token}"),)
    with (
        caplog.at_level(logging.WARNING),
        grpc.insecure_channel(learner.address) as channel,
        grpc.insecure_channel(learner.address) as other,
    ):
        never = threading.Event()
        call = channel.stream_unary("/efficientzero.RunService/GetStatus").future(
            iter(never.wait, True), metadata=metadata, timeout=60.0
        )
        deadline = time.monotonic() + 60.0
        while not call.done():  # whoever asks next ends it
            assert time.monotonic() < deadline
            other.unary_unary("/efficientzero.RunService/GetStatus")(b"", metadata=metadata)
            time.sleep(0.05)
        assert call.code() is grpc.StatusCode.CANCELLED
        never.set()
    assert [record.getMessage() for record in caplog.records] == []


def test_connections_that_say_nothing_hold_nobody_up(learner):
    host, _, port = learner.address.rpartition(":")
    silent = [socket.create_connection((host, int(port)), timeout=60.0) for _ in range(300)]
    try:
        check_answers_are_prompt(learner.address)
    finally:
        for connection in silent:
            connection.close()


def test_refusals_are_counted_by_peer_and_cause(caplog):
    now = [0.0]
    refusals = Refusals(lambda: now[0])
    with caplog.at_level(logging.WARNING):
        for port in range(500):
            refusals.note(f"ipv4:10.0.0.1:{port}", "a")
        refusals.note("ipv4:10.0.0.2:1", "a")
        refusals.note("ipv4:10.0.0.1:1", "b")
        now[0] = 61.0
        refusals.note("ipv4:10.0.0.1:9", "a")
    assert [record.getMessage() for record in caplog.records] == [
        "refused a call of ipv4:10.0.0.1: a",
        "refused a call of ipv4:10.0.0.2: a",
        "refused a call of ipv4:10.0.0.1: b",
        "refused a call of ipv4:10.0.0.1: a (499 more since the last line)",
    ]
    for host in range(5_000):
        refusals.note(f"ipv4:host{host}:1", "a")
    assert len(refusals._noted) == 1_000


def test_many_peers_have_a_bounded_number_of_lines_together(caplog):
    now = [0.0]
    refusals = Refusals(lambda: now[0])
    for minute in (1, 2):
        caplog.clear()
        for host in range(5_000):
            refusals.note(f"ipv6:[2001:db8::{host:x}]:1", "a")
        assert len(caplog.records) == 60
        assert "no more lines" in caplog.records[-1].getMessage()
        now[0] = 61.0 * minute


def rights_on_the_page() -> dict[str, dict[str, bool]]:
    """Return who may call what, by method and caller, as the page's table has it."""
    header, _, *rows = re.findall(r"^\|.*\|$", PAGE.read_text().partition("## Calls")[2], re.M)
    callers = [cell.strip() for cell in header.strip("|").split("|")][1:]
    table = {}
    for row in rows:
        name, *cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert {*cells} <= {"yes", "no"}, row
        table[name.strip("`")] = dict(zip(callers, (cell == "yes" for cell in cells), strict=True))
    return table


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_the_page_says_who_may_call_what(learner, method):
    folder = Path(os.environ[CREDENTIALS_VARIABLE])
    tokens = {
        "no token": None,
        "wrong token": "0" * 64,
        "read token": read_read_token(folder),
        "worker token": read_token(folder),
    }
    wanted = rights_on_the_page()[f"{method.containing_service.name}.{method.name}"]
    assert wanted.keys() == tokens.keys()
    with grpc.insecure_channel(learner.address) as channel:
        found = {caller: is_let_in(channel, method, token) for caller, token in tokens.items()}
    assert found == wanted


def is_let_in(channel, method, token: str | None) -> bool:
    """Call with an empty message, which a service that is reached answers or finds wrong."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    metadata = () if token is None else (("authorization", f"Bearer {token}"),)
    try:
        if method.server_streaming:
            list(channel.unary_stream(path)(b"", timeout=60.0, metadata=metadata))
        else:
            channel.unary_unary(path)(b"", timeout=60.0, metadata=metadata)
    except grpc.RpcError as error:
        return error.code() is not grpc.StatusCode.UNAUTHENTICATED
    return True


def test_the_page_has_every_method_and_no_other():
    names = {f"{method.containing_service.name}.{method.name}" for method in METHODS}
    assert rights_on_the_page().keys() == names | {RELAY}


def test_own_tokens_are_this_users_alone_and_stay(tmp_path):
    folder = make_local_credentials(tmp_path)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    before = {}
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        before[path.name] = path.read_text()
    assert sorted(before) == ["read_token", "token"]
    make_local_credentials(tmp_path)
    assert {path.name: path.read_text() for path in folder.iterdir()} == before
    (folder / "token").chmod(0o644)  # others may know it
    make_local_credentials(tmp_path)
    assert read_token(folder) != before["token"].strip()


def test_a_file_system_without_modes_gets_no_tokens(tmp_path, monkeypatch):
    run, private = tmp_path / "run", tmp_path / "private"
    run.mkdir()
    private.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(private))
    is_private = tokens.is_private
    monkeypatch.setattr(
        tokens,
        "is_private",
        lambda path: not path.is_relative_to(run) and is_private(path),
    )
    folder = make_local_credentials(run)
    assert folder.is_relative_to(private)
    assert read_token(folder)
    assert list(run.iterdir()) == []


def test_a_secret_that_others_can_read_is_refused_with_the_command_that_mends_it(tmp_path):
    token = make_local_credentials(tmp_path) / "token"
    token.chmod(0o644)
    with pytest.raises(CredentialsError, match=rf"mode 644\); run: chmod 600 {token}$"):
        read_token(token.parent)
    token.chmod(0o440)  # a container's secret, for its group
    assert read_token(token.parent)


def test_a_plain_token_leaves_no_machine(learner):
    with pytest.raises(CredentialsError, match=r"may not go to 10\.0\.0\.1:7400 in plain text"):
        open_channel("10.0.0.1:7400")
