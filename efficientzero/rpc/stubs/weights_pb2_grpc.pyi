"""Types of the generated service classes, which protoc does not write. Keep with weights.proto."""

from collections.abc import Iterator

import grpc

from efficientzero.rpc.stubs import weights_pb2

class WeightServiceStub:
    GetWeights: grpc.UnaryStreamMultiCallable[
        weights_pb2.GetWeightsRequest, weights_pb2.WeightsMessage
    ]
    def __init__(self, channel: grpc.Channel) -> None: ...

class WeightServiceServicer:
    def GetWeights(
        self, request: weights_pb2.GetWeightsRequest, context: grpc.ServicerContext
    ) -> Iterator[weights_pb2.WeightsMessage]: ...

def add_WeightServiceServicer_to_server(
    servicer: WeightServiceServicer, server: grpc.Server
) -> None: ...
