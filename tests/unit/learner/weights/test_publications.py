"""Weights go out from a thread: as they were, in order, encoded once, and failures are told."""

import threading

import pytest
import torch

from efficientzero.rpc.stubs import weights_pb2
from efficientzero.rpc.weights_codec import decode_weights
from learner.weights import publications as module
from learner.weights.publications import Publications
from learner.weights.publisher import WeightPublisher

LATEST, TARGET = weights_pb2.LATEST, weights_pb2.TARGET
PATIENCE_S = 60.0


def make_state(fill):
    return {
        "kernel": torch.full((2, 3, 2, 2), fill).to(memory_format=torch.channels_last),
        "bias": torch.full((3,), fill),
        "count": torch.tensor(int(fill)),
    }


def published(publisher, kind):
    snapshot = publisher.newest(kind)
    return snapshot.train_step, decode_weights(snapshot.payload, make_state(0.0))


@pytest.fixture
def held_encoder(monkeypatch):
    """Let encoding wait until the test sets ``go``; ``calls`` counts."""

    class Held:
        def __init__(self):
            self.go, self.calls = threading.Event(), 0

        def __call__(self, state, *, dtype):
            self.calls += 1
            assert self.go.wait(PATIENCE_S)
            return original(state, dtype=dtype)

    original, held = module.encode_weights, Held()
    monkeypatch.setattr(module, "encode_weights", held)
    yield held
    held.go.set()


def test_what_goes_out_is_what_the_weights_were_and_nobody_waited(held_encoder):
    publisher = WeightPublisher()
    publications, state = Publications(publisher), make_state(1.0)
    for step in (1, 2):
        for tensor in state.values():
            tensor.fill_(step)
        publications.publish([LATEST], state, step)  # returns though nothing is encoded
    for tensor in state.values():
        tensor.fill_(9)
    assert publisher.newest(LATEST) is None
    held_encoder.go.set()
    publications.wait()
    step, got = published(publisher, LATEST)
    assert step == 2
    assert publisher.newest(LATEST).version == 2
    for name, tensor in make_state(2.0).items():
        assert torch.equal(got[name], tensor)


def test_a_copy_is_not_used_again_before_it_is_out(held_encoder):
    publisher = WeightPublisher()
    publications, seen = Publications(publisher), []
    publish = publisher.publish_encoded
    publisher.publish_encoded = lambda kind, payload, step: (
        seen.append((step, decode_weights(payload, make_state(0.0))["bias"][0].item())),
        publish(kind, payload, step),
    )
    threading.Timer(0.1, held_encoder.go.set).start()
    for step in range(1, 8):
        publications.publish([LATEST], make_state(float(step)), step)
    publications.wait()
    assert seen == [(step, float(step)) for step in range(1, 8)]


def test_two_kinds_at_once_are_encoded_once(held_encoder):
    held_encoder.go.set()
    publisher = WeightPublisher()
    publications = Publications(publisher)
    publications.publish([LATEST, TARGET], make_state(3.0), 30)
    publications.wait()
    assert held_encoder.calls == 1
    assert publisher.newest(LATEST).payload is publisher.newest(TARGET).payload
    assert published(publisher, TARGET)[0] == 30


def test_weights_that_are_not_finite_are_never_published_and_reported_at_the_next_turn():
    publisher = WeightPublisher()
    publications = Publications(publisher)
    publications.publish([LATEST], make_state(1.0), 1)
    publications.publish([LATEST], {**make_state(1.0), "bias": torch.full((3,), torch.nan)}, 2)
    with pytest.raises(ValueError, match="'bias': got values that are not finite"):
        publications.wait()
    assert publisher.newest(LATEST).train_step == 1


def test_rounded_weights_go_out_at_half_the_size():
    whole, half = WeightPublisher(), WeightPublisher()
    state = {"matrix": torch.rand(100, 100), "bias": torch.rand(100)}
    for publisher, dtype in ((whole, torch.float32), (half, torch.bfloat16)):
        publications = Publications(publisher, dtype=dtype)
        publications.publish([LATEST], state, 1)
        publications.wait()
    got = decode_weights(half.newest(LATEST).payload, state)
    assert torch.equal(got["matrix"], state["matrix"].bfloat16().float())
    assert torch.equal(got["bias"], state["bias"])
    assert len(half.newest(LATEST).payload) < 0.6 * len(whole.newest(LATEST).payload)
