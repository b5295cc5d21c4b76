from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WeightsKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WEIGHTS_KIND_UNSPECIFIED: _ClassVar[WeightsKind]
    LATEST: _ClassVar[WeightsKind]
    TARGET: _ClassVar[WeightsKind]
    MEMBER: _ClassVar[WeightsKind]
WEIGHTS_KIND_UNSPECIFIED: WeightsKind
LATEST: WeightsKind
TARGET: WeightsKind
MEMBER: WeightsKind

class GetWeightsRequest(_message.Message):
    __slots__ = ("kind", "known_version", "member")
    KIND_FIELD_NUMBER: _ClassVar[int]
    KNOWN_VERSION_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    kind: WeightsKind
    known_version: int
    member: int
    def __init__(self, kind: _Optional[_Union[WeightsKind, str]] = ..., known_version: _Optional[int] = ..., member: _Optional[int] = ...) -> None: ...

class WeightsMessage(_message.Message):
    __slots__ = ("header", "chunk")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    header: WeightsHeader
    chunk: bytes
    def __init__(self, header: _Optional[_Union[WeightsHeader, _Mapping]] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class WeightsHeader(_message.Message):
    __slots__ = ("kind", "version", "train_step", "total_bytes", "crc32")
    KIND_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TRAIN_STEP_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    CRC32_FIELD_NUMBER: _ClassVar[int]
    kind: WeightsKind
    version: int
    train_step: int
    total_bytes: int
    crc32: int
    def __init__(self, kind: _Optional[_Union[WeightsKind, str]] = ..., version: _Optional[int] = ..., train_step: _Optional[int] = ..., total_bytes: _Optional[int] = ..., crc32: _Optional[int] = ...) -> None: ...
