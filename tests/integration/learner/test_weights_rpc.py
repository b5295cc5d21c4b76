"""Weights from a publisher to a client over real gRPC on loopback."""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import ExitStack, contextmanager

import grpc
import pytest
import torch
from torch import Tensor

from efficientzero.config.fields import BudgetConfig, Config
from efficientzero.process.runtime import StopSignal
from efficientzero.rpc.channel import open_channel
from efficientzero.rpc.pinned_weights import PinnedWeights
from efficientzero.rpc.stubs import weights_pb2, weights_pb2_grpc
from efficientzero.rpc.weight_client import WeightClient, Weights
from efficientzero.rpc.weights_codec import encode_weights
from learner.pacing.governor import Governor
from learner.records.run_record import RunRecord
from learner.services.server import GrpcServer
from learner.weights.publisher import WeightPublisher

LATEST, TARGET = weights_pb2.LATEST, weights_pb2.TARGET
PATIENCE_S = 60.0


def make_state(fill: float = 0.0, *, size: int = 3) -> dict[str, Tensor]:
    return {"layer.weight": torch.full((size, 2), fill), "steps": torch.tensor([7])}


@pytest.fixture
def start_server(tmp_path) -> Iterator[Callable[..., GrpcServer]]:
    servers = []

    def start(publisher: WeightPublisher, address: str = "127.0.0.1:0") -> GrpcServer:
        server = GrpcServer(
            address,
            governor=Governor(Config(budget=BudgetConfig(env_steps=10))),
            publisher=publisher,
            record=RunRecord(tmp_path),
        )
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.close(0.0)


@pytest.fixture
def make_client() -> Iterator[Callable[..., WeightClient]]:
    clients = []

    def make(address: str, kind=LATEST, expected=None, stop=None) -> WeightClient:
        clients.append(
            WeightClient(address, kind, expected or make_state(), stop or StopSignal(), poll_s=0.01)
        )
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def next_weights(client: WeightClient) -> Weights:
    assert client.wait_first("weights", timeout_s=PATIENCE_S)
    weights = client.take_newer()
    assert weights is not None
    return weights


def pull(
    address: str, kind: weights_pb2.WeightsKind, known_version: int
) -> list[weights_pb2.WeightsMessage]:
    with open_channel(address) as channel:
        stub = weights_pb2_grpc.WeightServiceStub(channel)
        request = weights_pb2.GetWeightsRequest(kind=kind, known_version=known_version)
        return list(stub.GetWeights(request, timeout=PATIENCE_S, wait_for_ready=True))


def test_versions_count_publications_of_each_kind():
    publisher = WeightPublisher()
    assert [publisher.publish(LATEST, make_state(), step) for step in (0, 100)] == [1, 2]
    assert publisher.publish(TARGET, make_state(), 100) == 1


def test_stream_is_empty_before_the_first_and_when_nothing_is_newer(start_server):
    publisher = WeightPublisher()
    server = start_server(publisher)
    assert pull(server.address, LATEST, -1) == []
    publisher.publish(LATEST, make_state(), 0)
    assert len(pull(server.address, LATEST, -1)) == 2  # header and chunk
    assert pull(server.address, LATEST, 1) == []
    assert pull(server.address, TARGET, -1) == []


def test_caller_who_outlived_another_learner_gets_the_lower_version(start_server):
    publisher = WeightPublisher()
    publisher.publish(LATEST, make_state(), 0)
    assert pull(start_server(publisher).address, LATEST, 40)[0].header.version == 1


def test_unknown_kind_is_refused(start_server):
    publisher = WeightPublisher()
    server = start_server(publisher)
    with pytest.raises(grpc.RpcError) as failure:
        pull(server.address, weights_pb2.WEIGHTS_KIND_UNSPECIFIED, -1)
    assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(ValueError, match="kind: got 0"):
        publisher.publish(weights_pb2.WEIGHTS_KIND_UNSPECIFIED, make_state(), 0)


def test_client_takes_each_publication_once_and_keeps_kinds_apart(start_server, make_client):
    publisher = WeightPublisher()
    server = start_server(publisher)
    latest, target = make_client(server.address), make_client(server.address, TARGET)
    assert latest.take_newer() is None
    publisher.publish(LATEST, make_state(1.0), 100)
    publisher.publish(TARGET, make_state(2.0), 50)
    first, other = next_weights(latest), next_weights(target)
    assert (first.version, first.train_step) == (1, 100)
    assert (other.version, other.train_step) == (1, 50)
    assert torch.equal(first.state_dict["layer.weight"], torch.ones(3, 2))
    assert torch.equal(other.state_dict["layer.weight"], torch.full((3, 2), 2.0))
    assert latest.take_newer() is None
    publisher.publish(LATEST, make_state(3.0), 200)
    second = next_weights(latest)
    assert (second.version, second.train_step) == (2, 200)


def test_12_megabytes_arrive_bit_for_bit_in_bounded_chunks(start_server, make_client):
    generator = torch.Generator().manual_seed(1)
    state = {f"layer{i}": torch.randn(500_000, generator=generator) for i in range(6)}
    publisher = WeightPublisher()
    publisher.publish(LATEST, state, 5)
    server = start_server(publisher)
    received = next_weights(make_client(server.address, expected=state)).state_dict
    assert list(received) == list(state)
    assert all(torch.equal(received[name], state[name]) for name in state)
    messages = pull(server.address, LATEST, -1)
    assert messages[0].header.total_bytes > 12_000_000
    assert max(len(message.chunk) for message in messages) <= 1 << 20


def test_clients_that_do_not_read_hold_up_neither_publications_nor_other_clients(
    start_server, make_client
):
    state = {"layer": torch.zeros(3_000_000)}
    publisher = WeightPublisher()
    publisher.publish(LATEST, state, 1)
    server = start_server(publisher)
    request = weights_pb2.GetWeightsRequest(kind=LATEST, known_version=-1)
    with ExitStack() as stack:
        for _ in range(8):
            channel = stack.enter_context(open_channel(server.address))
            stub = weights_pb2_grpc.WeightServiceStub(channel)
            call = stub.GetWeights(request, timeout=PATIENCE_S, wait_for_ready=True)
            assert next(iter(call)).header.train_step == 1  # and reads no further
            stack.callback(call.cancel)
        publisher.publish(LATEST, {"layer": torch.ones(3_000_000)}, 2)
        received = next_weights(make_client(server.address, expected=state))
        assert received.train_step == 2
        assert torch.equal(received.state_dict["layer"], torch.ones(3_000_000))
        # Some of the others hang on: not all streams have ended.
        assert publisher.bytes_sent < 9 * len(publisher.newest(LATEST).payload)


def test_published_weights_do_not_follow_the_network(start_server, make_client):
    state = make_state(1.0)
    publisher = WeightPublisher()
    publisher.publish(LATEST, state, 0)
    state["layer.weight"].zero_()
    received = next_weights(make_client(start_server(publisher).address))
    assert torch.equal(received.state_dict["layer.weight"], torch.ones(3, 2))


def test_weights_of_another_shape_are_refused(start_server, make_client):
    publisher = WeightPublisher()
    publisher.publish(LATEST, make_state(size=4), 0)
    client = make_client(start_server(publisher).address)
    wanted = r"layer\.weight.*got shape \(4, 2\), wanted \(3, 2\)"
    with pytest.raises(ValueError, match=wanted):
        client.wait_first("weights", timeout_s=PATIENCE_S)
    with pytest.raises(ValueError, match=wanted):
        client.take_newer()


@contextmanager
def lying_server(messages: list[weights_pb2.WeightsMessage]) -> Iterator[str]:
    """Serve exactly ``messages`` to whoever asks."""

    class Servicer(weights_pb2_grpc.WeightServiceServicer):
        def GetWeights(self, request, context):
            yield from messages

    with serving(Servicer()) as address:
        yield address


@contextmanager
def serving(servicer: weights_pb2_grpc.WeightServiceServicer) -> Iterator[str]:
    server = grpc.server(futures.ThreadPoolExecutor(2))
    weights_pb2_grpc.add_WeightServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait(PATIENCE_S)


def header(payload: bytes, **changes) -> weights_pb2.WeightsMessage:
    fields = {
        "kind": LATEST,
        "version": 1,
        "train_step": 0,
        "total_bytes": len(payload),
        "crc32": zlib.crc32(payload),
    }
    return weights_pb2.WeightsMessage(header=weights_pb2.WeightsHeader(**(fields | changes)))


def chunk(payload: bytes) -> weights_pb2.WeightsMessage:
    return weights_pb2.WeightsMessage(chunk=payload)


GOOD = encode_weights(make_state())
FLIPPED = bytes([*GOOD[:-1], GOOD[-1] ^ 1])


@pytest.mark.parametrize(
    ("messages", "complaint"),
    [
        ([header(GOOD), chunk(FLIPPED)], "got crc32 0x"),
        ([header(GOOD), chunk(GOOD[:-1])], f"got {len(GOOD) - 1} bytes, wanted {len(GOOD)}"),
        ([header(GOOD), chunk(GOOD), chunk(b"x")], f"got more than {len(GOOD)} bytes"),
        ([header(GOOD), header(GOOD)], "got header, wanted a chunk"),
        ([chunk(GOOD)], "got chunk first, wanted the header"),
        ([weights_pb2.WeightsMessage()], "got None first, wanted the header"),
        ([header(GOOD, kind=TARGET), chunk(GOOD)], "got kind 2, wanted 1"),
        ([header(GOOD, total_bytes=1 << 40)], f"got total_bytes {1 << 40}, wanted 1 to"),
        ([header(GOOD, total_bytes=0)], "got total_bytes 0, wanted 1 to"),
        ([header(b"junk"), chunk(b"junk")], "safetensors"),
    ],
)
def test_corrupted_stream_is_refused(messages, complaint, make_client):
    with lying_server(messages) as address:
        client = make_client(address)
        with pytest.raises(ValueError, match=complaint):
            client.wait_first("weights", timeout_s=PATIENCE_S)


def test_unserved_method_is_an_error_and_no_absence(make_client):
    server = grpc.server(futures.ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    client = make_client(f"127.0.0.1:{port}")
    with pytest.raises(RuntimeError, match="UNIMPLEMENTED"):
        client.wait_first("weights", timeout_s=PATIENCE_S)
    server.stop(0).wait(PATIENCE_S)


def test_client_survives_the_learners_absence(start_server, make_client):
    publisher = WeightPublisher()
    publisher.publish(LATEST, make_state(), 10)
    server = start_server(publisher)
    client = make_client(server.address)
    assert next_weights(client).train_step == 10
    server.close(0.0)
    assert client.take_newer() is None
    publisher.publish(LATEST, make_state(), 20)
    start_server(publisher, server.address)
    assert next_weights(client).train_step == 20


def test_client_outlives_a_call_that_a_stopping_learner_drops(make_client):
    """gRPC's server leaves calls that come while it stops unanswered: they end with CANCELLED."""
    calls = []

    class Servicer(weights_pb2_grpc.WeightServiceServicer):
        def GetWeights(self, request, context):
            calls.append(None)
            if len(calls) < 3:
                context.cancel()
                return
            yield header(GOOD)
            yield chunk(GOOD)

    with serving(Servicer()) as address:
        assert next_weights(make_client(address)).train_step == 0
    assert len(calls) >= 3


def test_client_may_start_before_the_learner(start_server, make_client):
    publisher = WeightPublisher()
    server = start_server(publisher)
    server.close(0.0)
    client = make_client(server.address)
    with pytest.raises(TimeoutError, match="weights: none from learner"):
        client.wait_first("weights", timeout_s=0.05)
    publisher.publish(LATEST, make_state(), 1)
    start_server(publisher, server.address)
    assert next_weights(client).train_step == 1


def test_stop_ends_the_wait_for_first_weights(make_client):
    stop = StopSignal()
    client = make_client("127.0.0.1:1", stop=stop)
    stop.set("test")
    started = time.monotonic()
    assert not client.wait_first("weights", timeout_s=PATIENCE_S)
    assert time.monotonic() - started < PATIENCE_S


def test_taken_port_is_said_in_one_line(start_server):
    server = start_server(WeightPublisher())
    with pytest.raises(OSError, match="cannot listen at 127") as failure:
        start_server(WeightPublisher(), server.address)
    assert "\n" not in str(failure.value)


def test_pinned_client_waits_for_the_train_step_that_is_due(start_server, make_client):
    publisher = WeightPublisher()
    client = make_client(start_server(publisher).address)
    due = iter([0, 0, 40, None])
    pinned = PinnedWeights(client, lambda: next(due))
    publisher.publish(LATEST, make_state(0.0), 0)
    assert pinned.wait_first("weights")
    first = pinned.take_newer()
    assert first is not None
    assert first.train_step == 0
    assert pinned.take_newer() is None  # in use already
    publisher.publish(LATEST, make_state(2.0), 20)
    while client._newest is None:  # fetched, and not the ones that are due
        time.sleep(0.001)
    later = threading.Timer(0.1, publisher.publish, (LATEST, make_state(4.0), 40))
    later.start()
    second = pinned.take_newer()
    assert second is not None
    assert second.train_step == 40
    assert torch.equal(second.state_dict["layer.weight"], make_state(4.0)["layer.weight"])
    assert pinned.take_newer() is None  # nothing is due any more


def test_weights_newer_than_the_due_ones_are_an_error(start_server, make_client):
    publisher = WeightPublisher()
    client = make_client(start_server(publisher).address)
    publisher.publish(LATEST, make_state(), 40)
    assert client.wait_first("weights", timeout_s=PATIENCE_S)
    with pytest.raises(RuntimeError, match="got train_step 40, wanted 20"):
        client.take_at(20)


def test_stop_ends_the_wait_for_due_weights(start_server, make_client):
    stop = StopSignal()
    client = make_client(start_server(WeightPublisher()).address, stop=stop)
    threading.Timer(0.05, stop.set, ("test",)).start()
    assert client.take_at(20) is None
