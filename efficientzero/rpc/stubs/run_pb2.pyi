from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Phase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PHASE_UNSPECIFIED: _ClassVar[Phase]
    WARMUP: _ClassVar[Phase]
    COLLECTING: _ClassVar[Phase]
    LAST_STEPS: _ClassVar[Phase]
    FINISHED: _ClassVar[Phase]
PHASE_UNSPECIFIED: Phase
WARMUP: Phase
COLLECTING: Phase
LAST_STEPS: Phase
FINISHED: Phase

class AcquireEnvStepsRequest(_message.Message):
    __slots__ = ("actor_index", "completed", "wanted", "wait_seconds", "incarnation", "request")
    ACTOR_INDEX_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    WANTED_FIELD_NUMBER: _ClassVar[int]
    WAIT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    actor_index: int
    completed: int
    wanted: int
    wait_seconds: float
    incarnation: int
    request: int
    def __init__(self, actor_index: _Optional[int] = ..., completed: _Optional[int] = ..., wanted: _Optional[int] = ..., wait_seconds: _Optional[float] = ..., incarnation: _Optional[int] = ..., request: _Optional[int] = ...) -> None: ...

class AcquireEnvStepsReply(_message.Message):
    __slots__ = ("granted", "collection_ended", "phase", "max_priority", "env_steps", "latest_train_step")
    GRANTED_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_ENDED_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    MAX_PRIORITY_FIELD_NUMBER: _ClassVar[int]
    ENV_STEPS_FIELD_NUMBER: _ClassVar[int]
    LATEST_TRAIN_STEP_FIELD_NUMBER: _ClassVar[int]
    granted: int
    collection_ended: bool
    phase: Phase
    max_priority: float
    env_steps: int
    latest_train_step: int
    def __init__(self, granted: _Optional[int] = ..., collection_ended: bool = ..., phase: _Optional[_Union[Phase, str]] = ..., max_priority: _Optional[float] = ..., env_steps: _Optional[int] = ..., latest_train_step: _Optional[int] = ...) -> None: ...

class AcquireBatchRequest(_message.Message):
    __slots__ = ("train_step", "wait_seconds", "reanalyzer_index", "member")
    TRAIN_STEP_FIELD_NUMBER: _ClassVar[int]
    WAIT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    REANALYZER_INDEX_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    train_step: int
    wait_seconds: float
    reanalyzer_index: int
    member: int
    def __init__(self, train_step: _Optional[int] = ..., wait_seconds: _Optional[float] = ..., reanalyzer_index: _Optional[int] = ..., member: _Optional[int] = ...) -> None: ...

class AcquireBatchReply(_message.Message):
    __slots__ = ("granted", "target_train_step", "keys", "priorities")
    GRANTED_FIELD_NUMBER: _ClassVar[int]
    TARGET_TRAIN_STEP_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    PRIORITIES_FIELD_NUMBER: _ClassVar[int]
    granted: bool
    target_train_step: int
    keys: _containers.RepeatedScalarFieldContainer[int]
    priorities: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, granted: bool = ..., target_train_step: _Optional[int] = ..., keys: _Optional[_Iterable[int]] = ..., priorities: _Optional[_Iterable[float]] = ...) -> None: ...

class EpisodeResult(_message.Message):
    __slots__ = ("episode_return", "length")
    EPISODE_RETURN_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    episode_return: float
    length: int
    def __init__(self, episode_return: _Optional[float] = ..., length: _Optional[int] = ...) -> None: ...

class BaselineScore(_message.Message):
    __slots__ = ("name", "seat", "wins", "draws", "losses")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SEAT_FIELD_NUMBER: _ClassVar[int]
    WINS_FIELD_NUMBER: _ClassVar[int]
    DRAWS_FIELD_NUMBER: _ClassVar[int]
    LOSSES_FIELD_NUMBER: _ClassVar[int]
    name: str
    seat: int
    wins: int
    draws: int
    losses: int
    def __init__(self, name: _Optional[str] = ..., seat: _Optional[int] = ..., wins: _Optional[int] = ..., draws: _Optional[int] = ..., losses: _Optional[int] = ...) -> None: ...

class ReportEpisodesRequest(_message.Message):
    __slots__ = ("actor_index", "episodes", "member")
    ACTOR_INDEX_FIELD_NUMBER: _ClassVar[int]
    EPISODES_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    actor_index: int
    episodes: _containers.RepeatedCompositeFieldContainer[EpisodeResult]
    member: int
    def __init__(self, actor_index: _Optional[int] = ..., episodes: _Optional[_Iterable[_Union[EpisodeResult, _Mapping]]] = ..., member: _Optional[int] = ...) -> None: ...

class ReportEpisodesReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReportEvaluationRequest(_message.Message):
    __slots__ = ("weights_version", "is_final", "episodes", "seconds", "member", "scores")
    WEIGHTS_VERSION_FIELD_NUMBER: _ClassVar[int]
    IS_FINAL_FIELD_NUMBER: _ClassVar[int]
    EPISODES_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    weights_version: int
    is_final: bool
    episodes: _containers.RepeatedCompositeFieldContainer[EpisodeResult]
    seconds: float
    member: int
    scores: _containers.RepeatedCompositeFieldContainer[BaselineScore]
    def __init__(self, weights_version: _Optional[int] = ..., is_final: bool = ..., episodes: _Optional[_Iterable[_Union[EpisodeResult, _Mapping]]] = ..., seconds: _Optional[float] = ..., member: _Optional[int] = ..., scores: _Optional[_Iterable[_Union[BaselineScore, _Mapping]]] = ...) -> None: ...

class ReportEvaluationReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RunStatus(_message.Message):
    __slots__ = ("phase", "env_steps", "env_steps_budget", "train_steps", "train_steps_budget", "episodes", "last_returns", "replay_items", "last_eval_return_mean", "last_eval_version", "waiting_for", "final_evaluation_received", "warmup_env_steps", "steps_inserted", "cause", "run_uid", "has_ladder")
    PHASE_FIELD_NUMBER: _ClassVar[int]
    ENV_STEPS_FIELD_NUMBER: _ClassVar[int]
    ENV_STEPS_BUDGET_FIELD_NUMBER: _ClassVar[int]
    TRAIN_STEPS_FIELD_NUMBER: _ClassVar[int]
    TRAIN_STEPS_BUDGET_FIELD_NUMBER: _ClassVar[int]
    EPISODES_FIELD_NUMBER: _ClassVar[int]
    LAST_RETURNS_FIELD_NUMBER: _ClassVar[int]
    REPLAY_ITEMS_FIELD_NUMBER: _ClassVar[int]
    LAST_EVAL_RETURN_MEAN_FIELD_NUMBER: _ClassVar[int]
    LAST_EVAL_VERSION_FIELD_NUMBER: _ClassVar[int]
    WAITING_FOR_FIELD_NUMBER: _ClassVar[int]
    FINAL_EVALUATION_RECEIVED_FIELD_NUMBER: _ClassVar[int]
    WARMUP_ENV_STEPS_FIELD_NUMBER: _ClassVar[int]
    STEPS_INSERTED_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    RUN_UID_FIELD_NUMBER: _ClassVar[int]
    HAS_LADDER_FIELD_NUMBER: _ClassVar[int]
    phase: Phase
    env_steps: int
    env_steps_budget: int
    train_steps: int
    train_steps_budget: int
    episodes: int
    last_returns: _containers.RepeatedScalarFieldContainer[float]
    replay_items: int
    last_eval_return_mean: float
    last_eval_version: int
    waiting_for: str
    final_evaluation_received: bool
    warmup_env_steps: int
    steps_inserted: int
    cause: str
    run_uid: str
    has_ladder: bool
    def __init__(self, phase: _Optional[_Union[Phase, str]] = ..., env_steps: _Optional[int] = ..., env_steps_budget: _Optional[int] = ..., train_steps: _Optional[int] = ..., train_steps_budget: _Optional[int] = ..., episodes: _Optional[int] = ..., last_returns: _Optional[_Iterable[float]] = ..., replay_items: _Optional[int] = ..., last_eval_return_mean: _Optional[float] = ..., last_eval_version: _Optional[int] = ..., waiting_for: _Optional[str] = ..., final_evaluation_received: bool = ..., warmup_env_steps: _Optional[int] = ..., steps_inserted: _Optional[int] = ..., cause: _Optional[str] = ..., run_uid: _Optional[str] = ..., has_ladder: bool = ...) -> None: ...
