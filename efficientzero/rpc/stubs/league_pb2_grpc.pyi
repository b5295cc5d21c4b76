"""Types of the generated service classes, which protoc does not write. Keep with league.proto."""

import grpc

from efficientzero.rpc.stubs import league_pb2

class LeagueServiceStub:
    GetMatch: grpc.UnaryUnaryMultiCallable[league_pb2.GetMatchRequest, league_pb2.Match]
    ReportMatches: grpc.UnaryUnaryMultiCallable[
        league_pb2.ReportMatchesRequest, league_pb2.ReportMatchesReply
    ]
    GetLadder: grpc.UnaryUnaryMultiCallable[league_pb2.GetLadderRequest, league_pb2.Ladder]
    def __init__(self, channel: grpc.Channel) -> None: ...

class LeagueServiceServicer:
    def GetMatch(
        self, request: league_pb2.GetMatchRequest, context: grpc.ServicerContext
    ) -> league_pb2.Match: ...
    def ReportMatches(
        self, request: league_pb2.ReportMatchesRequest, context: grpc.ServicerContext
    ) -> league_pb2.ReportMatchesReply: ...
    def GetLadder(
        self, request: league_pb2.GetLadderRequest, context: grpc.ServicerContext
    ) -> league_pb2.Ladder: ...

def add_LeagueServiceServicer_to_server(
    servicer: LeagueServiceServicer, server: grpc.Server
) -> None: ...
