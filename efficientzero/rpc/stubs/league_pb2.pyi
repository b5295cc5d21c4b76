from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetMatchRequest(_message.Message):
    __slots__ = ("actor_index", "process")
    ACTOR_INDEX_FIELD_NUMBER: _ClassVar[int]
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    actor_index: int
    process: int
    def __init__(self, actor_index: _Optional[int] = ..., process: _Optional[int] = ...) -> None: ...

class Match(_message.Message):
    __slots__ = ("member", "name", "train_step")
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TRAIN_STEP_FIELD_NUMBER: _ClassVar[int]
    member: int
    name: str
    train_step: int
    def __init__(self, member: _Optional[int] = ..., name: _Optional[str] = ..., train_step: _Optional[int] = ...) -> None: ...

class MatchResult(_message.Message):
    __slots__ = ("member", "name", "weights_version", "seat", "score", "length", "is_evaluation")
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_VERSION_FIELD_NUMBER: _ClassVar[int]
    SEAT_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    IS_EVALUATION_FIELD_NUMBER: _ClassVar[int]
    member: int
    name: str
    weights_version: int
    seat: int
    score: float
    length: int
    is_evaluation: bool
    def __init__(self, member: _Optional[int] = ..., name: _Optional[str] = ..., weights_version: _Optional[int] = ..., seat: _Optional[int] = ..., score: _Optional[float] = ..., length: _Optional[int] = ..., is_evaluation: bool = ...) -> None: ...

class ReportMatchesRequest(_message.Message):
    __slots__ = ("role", "index", "process", "results")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    role: str
    index: int
    process: int
    results: _containers.RepeatedCompositeFieldContainer[MatchResult]
    def __init__(self, role: _Optional[str] = ..., index: _Optional[int] = ..., process: _Optional[int] = ..., results: _Optional[_Iterable[_Union[MatchResult, _Mapping]]] = ...) -> None: ...

class ReportMatchesReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetLadderRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class LadderPlayer(_message.Message):
    __slots__ = ("name", "member", "train_step", "rating", "half_width", "games", "win_estimate")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    TRAIN_STEP_FIELD_NUMBER: _ClassVar[int]
    RATING_FIELD_NUMBER: _ClassVar[int]
    HALF_WIDTH_FIELD_NUMBER: _ClassVar[int]
    GAMES_FIELD_NUMBER: _ClassVar[int]
    WIN_ESTIMATE_FIELD_NUMBER: _ClassVar[int]
    name: str
    member: int
    train_step: int
    rating: float
    half_width: float
    games: int
    win_estimate: float
    def __init__(self, name: _Optional[str] = ..., member: _Optional[int] = ..., train_step: _Optional[int] = ..., rating: _Optional[float] = ..., half_width: _Optional[float] = ..., games: _Optional[int] = ..., win_estimate: _Optional[float] = ...) -> None: ...

class Ladder(_message.Message):
    __slots__ = ("players",)
    PLAYERS_FIELD_NUMBER: _ClassVar[int]
    players: _containers.RepeatedCompositeFieldContainer[LadderPlayer]
    def __init__(self, players: _Optional[_Iterable[_Union[LadderPlayer, _Mapping]]] = ...) -> None: ...
