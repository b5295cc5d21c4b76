"""A training batch, and what each of its fields is: the one table of shapes, ranges and dtypes.

Dimensions have the names of the legend in ``efficientzero.schema``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple, get_args, get_type_hints

import numpy as np

from efficientzero.schema import F32, F64, I32, I64, U64, Bool, Frames


class Range(NamedTuple):
    """Which numbers a field may hold."""

    wanted: str
    """The same in words, for messages."""
    low: float
    high: float | Literal["last_action", "last_env_step", "last_offset"] | None = None
    """A name stands for what only the run knows; None: no limit."""
    excludes_low: bool = False


class BatchField(NamedTuple):
    """What one field of a training batch is, wherever batches are packed, checked or sent."""

    shape: str
    """Dimensions by the legend's names: ``S+K`` is a sum, ``*frame`` the shape of a frame."""
    range: Range | None = None
    is_sent: bool = False
    """Whether the learner's device gets it."""
    is_finite: bool = True
    """Whether NaN is refused; infinities always are."""
    dtype: str | None = None
    """Filled in from the field's type; None: that of the environment's frames."""


_ACTION = Range("0 to the number of actions less one", 0, "last_action")
_PROBABILITY = Range("more than 0, at most 1", 0, 1, excludes_low=True)
_SHARE = Range("0 to 1", 0, 1 + 1e-3)  # float32 rounds
_FLAG = Range("0 or 1", 0, 1)
_IN_BOX = Range("-1 to 1", -1 - 1e-3, 1 + 1e-3)
_TRAIN_STEP = Range("train_steps", 0, 2**40)
_ENV_STEP = Range("0 to budget.env_steps", 0, "last_env_step")
_OFFSET = Range("0 to K + n", 0, "last_offset")
_DISCOUNT = Range("0 to 1", 0, 1)
_ENV_STEP_OR_NONE = Range("-1 to budget.env_steps", -1, "last_env_step")


class TrainingBatch(NamedTuple):
    """One learner step's input, made by one reanalyzer.

    Shapes, checks and what is sent to the device follow from these rows (``BATCH_FIELDS``). A field
    that only some runs have gets a dimension that is 0 in the others, like R.
    """

    frames: Annotated[Frames, BatchField("B S+K+N *frame", is_sent=True)]
    actions: Annotated[I64, BatchField("B K+Q", _ACTION, is_sent=True)]
    """Uniformly random where masked."""
    value_prefixes: Annotated[F32, BatchField("B K", is_sent=True)]
    values: Annotated[F32, BatchField("B K+1", is_sent=True)]
    """Where the learner bootstraps: only the rewards up to the bootstrap."""
    policies: Annotated[F32, BatchField("B K+1 W", _SHARE, is_sent=True)]
    action_mask: Annotated[Bool, BatchField("B K+Q", _FLAG, is_sent=True)]
    keys: Annotated[U64, BatchField("B")]
    """Of the slices' items in replay."""
    probabilities: Annotated[F64, BatchField("B", _PROBABILITY, is_sent=True)]
    table_sizes: Annotated[I64, BatchField("B", Range("at least 1", 1), is_sent=True)]
    weights_versions: Annotated[I64, BatchField("B", _TRAIN_STEP)]
    """Train_step of the weights that acted."""
    target_weights_versions: Annotated[I64, BatchField("B", _TRAIN_STEP)]
    """Train_step of the target weights that made the targets."""
    env_steps: Annotated[I64, BatchField("B", _ENV_STEP)]
    """Env_steps of the run that were granted before the slice's step."""
    refreshed_steps: Annotated[I64, BatchField("R", _ENV_STEP_OR_NONE)]
    """Env_steps of stored steps drawn uniformly; -1: none."""
    refreshed_priorities: Annotated[F64, BatchField("R", Range("at least 0", 0))]
    """Theirs under the target weights."""
    bootstrap_offsets: Annotated[I32, BatchField("B L", _OFFSET, is_sent=True)]
    """The target of position k bootstraps from o[t + offset]."""
    bootstrap_discounts: Annotated[F32, BatchField("B L", _DISCOUNT, is_sent=True)]
    """What that value counts: discount^l after l rewards; 0 where nothing follows."""
    auxiliary_values: Annotated[F32, BatchField("B H K+1", is_sent=True)]
    """As ``values``, with each of ``agent.auxiliary_discounts`` and the bootstraps of its head."""
    action_value_targets: Annotated[F32, BatchField("B D W", is_sent=True, is_finite=False)]
    """Q of the roots' actions in fresh searches, raw scale; NaN: no target."""
    bootstrap_legal_actions: Annotated[Bool, BatchField("B L M", _FLAG, is_sent=True)]
    """Of the observations at ``bootstrap_offsets``."""
    continuous_actions: Annotated[F32, BatchField("B K X", _IN_BOX, is_sent=True)]
    """In place of ``actions``; uniformly random where masked."""
    policy_actions: Annotated[F32, BatchField("B K+1 W X", _IN_BOX, is_sent=True)]
    """The actions in the slots of ``policies``."""
    best_actions: Annotated[F32, BatchField("B K+1 X", _IN_BOX, is_sent=True)]
    """What the search recommends; where none was made anew, the action that was played."""


def batch_fields(batch: type[tuple[Any, ...]]) -> dict[str, BatchField]:
    """Return what each field of a class like ``TrainingBatch`` is, in its order."""
    fields = {}
    for name, hint in get_type_hints(batch, include_extras=True).items():
        array, field = get_args(hint)
        _, dtype = get_args(array)  # of NDArray[scalar]: the shape's type, dtype[scalar]
        (scalar,) = get_args(dtype)
        fields[name] = field._replace(dtype=None if scalar is Any else np.dtype(scalar).name)
    return fields


BATCH_FIELDS = batch_fields(TrainingBatch)
