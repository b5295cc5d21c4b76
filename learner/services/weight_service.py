"""The weight service: streams the published weights to clients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc

from efficientzero.rpc.stubs import weights_pb2
from learner.services.call_refused import CallRefused
from learner.weights import WEIGHT_KINDS, WeightPublisher


def weight_service(publisher: WeightPublisher) -> grpc.GenericRpcHandler:
    """Return the handler that streams ``publisher``'s snapshots.

    Unlike the generated handler it does not serialise every message for every client.
    """
    service = weights_pb2.DESCRIPTOR.services_by_name["WeightService"]
    get_weights: Any = grpc.unary_stream_rpc_method_handler(
        WeightServicer(publisher).stream,
        request_deserializer=weights_pb2.GetWeightsRequest.FromString,
    )
    return grpc.method_handlers_generic_handler(service.full_name, {"GetWeights": get_weights})


class WeightServicer:
    """Streams a publisher's snapshots."""

    def __init__(self, publisher: WeightPublisher) -> None:
        self._publisher = publisher

    def stream(
        self, request: weights_pb2.GetWeightsRequest, context: grpc.ServicerContext
    ) -> Iterator[bytes]:
        """Yield the newest snapshot's serialised messages: its header, then its bytes in order."""
        del context
        if request.kind == weights_pb2.MEMBER:
            snapshot = self._publisher.member(request.member)
        elif request.kind in WEIGHT_KINDS:
            snapshot = self._publisher.newest(request.kind)
        else:
            raise CallRefused(f"kind: got {request.kind}, wanted {WEIGHT_KINDS} or a member")
        # Equal, not "at least": a client of an earlier learner may know a higher version.
        if snapshot is None or snapshot.version == request.known_version:
            return
        yield from snapshot.messages
        self._publisher.count_sent(snapshot.num_bytes)
