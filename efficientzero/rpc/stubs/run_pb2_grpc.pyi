"""Types of the generated service classes, which protoc does not write. Keep with run.proto."""

import grpc

from efficientzero.rpc.stubs import run_pb2

class RunServiceStub:
    AcquireEnvSteps: grpc.UnaryUnaryMultiCallable[
        run_pb2.AcquireEnvStepsRequest, run_pb2.AcquireEnvStepsReply
    ]
    AcquireBatch: grpc.UnaryUnaryMultiCallable[
        run_pb2.AcquireBatchRequest, run_pb2.AcquireBatchReply
    ]
    ReportEpisodes: grpc.UnaryUnaryMultiCallable[
        run_pb2.ReportEpisodesRequest, run_pb2.ReportEpisodesReply
    ]
    ReportEvaluation: grpc.UnaryUnaryMultiCallable[
        run_pb2.ReportEvaluationRequest, run_pb2.ReportEvaluationReply
    ]
    GetStatus: grpc.UnaryUnaryMultiCallable[run_pb2.GetStatusRequest, run_pb2.RunStatus]
    def __init__(self, channel: grpc.Channel) -> None: ...

class RunServiceServicer:
    def AcquireEnvSteps(
        self, request: run_pb2.AcquireEnvStepsRequest, context: grpc.ServicerContext
    ) -> run_pb2.AcquireEnvStepsReply: ...
    def AcquireBatch(
        self, request: run_pb2.AcquireBatchRequest, context: grpc.ServicerContext
    ) -> run_pb2.AcquireBatchReply: ...
    def ReportEpisodes(
        self, request: run_pb2.ReportEpisodesRequest, context: grpc.ServicerContext
    ) -> run_pb2.ReportEpisodesReply: ...
    def ReportEvaluation(
        self, request: run_pb2.ReportEvaluationRequest, context: grpc.ServicerContext
    ) -> run_pb2.ReportEvaluationReply: ...
    def GetStatus(
        self, request: run_pb2.GetStatusRequest, context: grpc.ServicerContext
    ) -> run_pb2.RunStatus: ...

def add_RunServiceServicer_to_server(servicer: RunServiceServicer, server: grpc.Server) -> None: ...
