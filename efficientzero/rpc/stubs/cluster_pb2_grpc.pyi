"""Types of the generated service classes, which protoc does not write. Keep with cluster.proto."""

import grpc

from efficientzero.rpc.stubs import cluster_pb2

class ClusterServiceStub:
    Join: grpc.UnaryUnaryMultiCallable[cluster_pb2.JoinRequest, cluster_pb2.JoinReply]
    Heartbeat: grpc.UnaryUnaryMultiCallable[
        cluster_pb2.HeartbeatRequest, cluster_pb2.HeartbeatReply
    ]
    Leave: grpc.UnaryUnaryMultiCallable[cluster_pb2.LeaveRequest, cluster_pb2.LeaveReply]
    GetCluster: grpc.UnaryUnaryMultiCallable[cluster_pb2.GetClusterRequest, cluster_pb2.Cluster]
    def __init__(self, channel: grpc.Channel) -> None: ...

class ClusterServiceServicer:
    def Join(
        self, request: cluster_pb2.JoinRequest, context: grpc.ServicerContext
    ) -> cluster_pb2.JoinReply: ...
    def Heartbeat(
        self, request: cluster_pb2.HeartbeatRequest, context: grpc.ServicerContext
    ) -> cluster_pb2.HeartbeatReply: ...
    def Leave(
        self, request: cluster_pb2.LeaveRequest, context: grpc.ServicerContext
    ) -> cluster_pb2.LeaveReply: ...
    def GetCluster(
        self, request: cluster_pb2.GetClusterRequest, context: grpc.ServicerContext
    ) -> cluster_pb2.Cluster: ...

def add_ClusterServiceServicer_to_server(
    servicer: ClusterServiceServicer, server: grpc.Server
) -> None: ...
