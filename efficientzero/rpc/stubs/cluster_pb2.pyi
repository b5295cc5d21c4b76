from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Seat(_message.Message):
    __slots__ = ("role", "index", "incarnation", "member", "host", "pid", "proof")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    role: str
    index: int
    incarnation: int
    member: int
    host: str
    pid: int
    proof: bytes
    def __init__(self, role: _Optional[str] = ..., index: _Optional[int] = ..., incarnation: _Optional[int] = ..., member: _Optional[int] = ..., host: _Optional[str] = ..., pid: _Optional[int] = ..., proof: _Optional[bytes] = ...) -> None: ...

class JoinRequest(_message.Message):
    __slots__ = ("protocol", "seat", "versions")
    class VersionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    SEAT_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    seat: Seat
    versions: _containers.ScalarMap[str, str]
    def __init__(self, protocol: _Optional[int] = ..., seat: _Optional[_Union[Seat, _Mapping]] = ..., versions: _Optional[_Mapping[str, str]] = ...) -> None: ...

class JoinReply(_message.Message):
    __slots__ = ("index", "incarnation", "run_file", "replay_host", "has_finished", "proof")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    RUN_FILE_FIELD_NUMBER: _ClassVar[int]
    REPLAY_HOST_FIELD_NUMBER: _ClassVar[int]
    HAS_FINISHED_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    index: int
    incarnation: int
    run_file: str
    replay_host: str
    has_finished: bool
    proof: bytes
    def __init__(self, index: _Optional[int] = ..., incarnation: _Optional[int] = ..., run_file: _Optional[str] = ..., replay_host: _Optional[str] = ..., has_finished: bool = ..., proof: _Optional[bytes] = ...) -> None: ...

class HeartbeatRequest(_message.Message):
    __slots__ = ("seat", "run_uid", "config_hash", "rate", "rate_unit", "waiting_for", "busy", "weights_train_step", "cpu_seconds", "wandb_cpu_seconds")
    SEAT_FIELD_NUMBER: _ClassVar[int]
    RUN_UID_FIELD_NUMBER: _ClassVar[int]
    CONFIG_HASH_FIELD_NUMBER: _ClassVar[int]
    RATE_FIELD_NUMBER: _ClassVar[int]
    RATE_UNIT_FIELD_NUMBER: _ClassVar[int]
    WAITING_FOR_FIELD_NUMBER: _ClassVar[int]
    BUSY_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_TRAIN_STEP_FIELD_NUMBER: _ClassVar[int]
    CPU_SECONDS_FIELD_NUMBER: _ClassVar[int]
    WANDB_CPU_SECONDS_FIELD_NUMBER: _ClassVar[int]
    seat: Seat
    run_uid: str
    config_hash: str
    rate: float
    rate_unit: str
    waiting_for: str
    busy: float
    weights_train_step: int
    cpu_seconds: float
    wandb_cpu_seconds: float
    def __init__(self, seat: _Optional[_Union[Seat, _Mapping]] = ..., run_uid: _Optional[str] = ..., config_hash: _Optional[str] = ..., rate: _Optional[float] = ..., rate_unit: _Optional[str] = ..., waiting_for: _Optional[str] = ..., busy: _Optional[float] = ..., weights_train_step: _Optional[int] = ..., cpu_seconds: _Optional[float] = ..., wandb_cpu_seconds: _Optional[float] = ...) -> None: ...

class HeartbeatReply(_message.Message):
    __slots__ = ("has_finished",)
    HAS_FINISHED_FIELD_NUMBER: _ClassVar[int]
    has_finished: bool
    def __init__(self, has_finished: bool = ...) -> None: ...

class LeaveRequest(_message.Message):
    __slots__ = ("seat",)
    SEAT_FIELD_NUMBER: _ClassVar[int]
    seat: Seat
    def __init__(self, seat: _Optional[_Union[Seat, _Mapping]] = ...) -> None: ...

class LeaveReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetClusterRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ProcessStatus(_message.Message):
    __slots__ = ("seat", "state", "rate", "rate_unit", "waiting_for", "busy", "weights_train_step", "heartbeat_age_s")
    SEAT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    RATE_FIELD_NUMBER: _ClassVar[int]
    RATE_UNIT_FIELD_NUMBER: _ClassVar[int]
    WAITING_FOR_FIELD_NUMBER: _ClassVar[int]
    BUSY_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_TRAIN_STEP_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_AGE_S_FIELD_NUMBER: _ClassVar[int]
    seat: Seat
    state: str
    rate: float
    rate_unit: str
    waiting_for: str
    busy: float
    weights_train_step: int
    heartbeat_age_s: float
    def __init__(self, seat: _Optional[_Union[Seat, _Mapping]] = ..., state: _Optional[str] = ..., rate: _Optional[float] = ..., rate_unit: _Optional[str] = ..., waiting_for: _Optional[str] = ..., busy: _Optional[float] = ..., weights_train_step: _Optional[int] = ..., heartbeat_age_s: _Optional[float] = ...) -> None: ...

class Cluster(_message.Message):
    __slots__ = ("processes", "cause", "warnings")
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    processes: _containers.RepeatedCompositeFieldContainer[ProcessStatus]
    cause: str
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, processes: _Optional[_Iterable[_Union[ProcessStatus, _Mapping]]] = ..., cause: _Optional[str] = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...
