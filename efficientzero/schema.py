"""The records that cross a boundary between parts or processes, in the order they travel.

Every role imports these; nothing here knows a process, a network or a table. Shape legend:

    B batch          E environments of one actor    S stacked frames      A actions
    K unroll steps   n td steps                     T episode length      M simulations
    W entries of a policy (``PolicyShape``)         X numbers of a continuous action, else 0
    M (in a training batch) A where the learner's bootstraps need legal actions, else 0
    F = S + K + n frames of a slice                 R refreshed priorities, 0: none
    D = K + 1 where fresh searches train action values, else 0
    L = K + 1 and N = n where the learner bootstraps (``learner.target_network`` local), else 0
    Q 1 where Q(s, a) is trained, else 0: o[t+K] then needs its action, too
    H = auxiliary horizons, 0: none
    *frame = one frame: (C, H, W) uint8 or (D,) float32

Batch first. ``actions[t]`` was chosen after seeing ``frames[t]`` and earned ``rewards[t]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]
Bool = NDArray[np.bool_]
Frames = NDArray[Any]
"""Frames of any environment: uint8 images or float32 vectors, as ``EnvSpec`` says."""


class Ending(IntEnum):
    """Why (or that not yet) a row is the last of its episode."""

    RUNNING = 0
    TERMINATED = 1
    TRUNCATED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvSpec:
    """Shapes and limits of one environment."""

    env_id: str
    frame_shape: tuple[int, ...]
    """(C, H, W) for images, (D,) for vectors."""
    frame_dtype: str
    """``"uint8"`` for images (0..255), ``"float32"`` for vectors."""
    num_actions: int
    """A: actions are 0..A - 1. 0: they are continuous."""
    num_stacked_frames: int
    action_kind: str = "discrete"
    """Or ``"continuous"``: X numbers in -1..1, which the environment scales to its bounds."""
    action_size: int = 0
    """X; 0: actions are discrete."""
    has_legal_actions: bool = False
    """Every state says which actions are legal."""
    num_players: int = 1
    """2: moves alternate, and both players' moves are steps of one episode."""

    @property
    def is_image(self) -> bool:
        """True when frames are images and the convolutional network is used."""
        return len(self.frame_shape) == len(("C", "H", "W"))

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """Shape of S stacked frames: (S*C, H, W) or (S*D,)."""
        return (self.num_stacked_frames * self.frame_shape[0], *self.frame_shape[1:])

    def differences(self, other: EnvSpec) -> tuple[str, str]:
        """Return the fields that differ, as ``name=value, ...``: of this one and of ``other``."""
        mine, others = asdict(self), asdict(other)
        names = [name for name in mine if mine[name] != others[name]]
        first, second = (", ".join(f"{n}={values[n]}" for n in names) for values in (mine, others))
        return first, second

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> EnvSpec:
        """Read what ``asdict`` returned, from JSON."""
        return cls(**{**values, "frame_shape": tuple(values["frame_shape"])})


class PolicyShape(NamedTuple):
    """Sizes of a policy: an entry for every action, or for each of some sampled ones.

    Code that asks for the size of a policy asks here, not ``EnvSpec.num_actions``, which is the
    number of actions that an environment and the dynamics know.
    """

    head_size: int
    """Outputs of the policy head."""
    width: int
    """W: entries of a policy: slots of a tree's node, a stored policy's weights."""
    action_size: int = 0
    """X: numbers of the action in each slot; 0: slot a is action a."""

    @classmethod
    def of(cls, spec: EnvSpec, sampled_actions: int = 0) -> PolicyShape:
        """Return the sizes for an environment.

        Args:
            spec: of the environment.
            sampled_actions: W with continuous actions (``search.sampled_actions``).
        """
        if spec.action_kind == "discrete":
            return cls(head_size=spec.num_actions, width=spec.num_actions)
        return cls(2 * spec.action_size, sampled_actions, spec.action_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvFacts:
    """What a trial of an environment found (``envs.trial``)."""

    spec: EnvSpec
    time_limit: int
    """Env_steps after which an episode ends at the latest; 0: none is known."""
    largest_reward: float
    """Absolute, of an env_step."""
    mean_reward: float
    """Mean of the absolute ones."""
    largest_pixel: int
    """What is declared for the pixels of images; 255 for everything else."""
    crash: str = ""
    """What it raised in a first trial; the second one went well."""

    def to_json(self) -> dict[str, Any]:
        """Return JSON values for ``from_json``."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> EnvFacts:
        """Read what ``to_json`` returned."""
        return cls(**{**values, "spec": EnvSpec.from_json(values["spec"])})


class Observed(NamedTuple):
    """What G environments return before they take an action."""

    frames: Frames  # [G, *frame]
    legal_actions: Bool | None = None  # [G, A]; None: every action is always legal
    to_play: U8 | None = None  # [G] whose move it is, 0 or 1; None: there is one player

    def rows(self, rows: Sequence[int]) -> Observed:
        """Return what the environments of these rows show."""
        return Observed._make(None if field is None else field[rows] for field in self)


class Shown(NamedTuple):
    """What one environment shows."""

    frame: Frames  # [*frame]
    legal_actions: Bool | None = None  # [A]; None: the environment has no masks
    to_play: int = 0  # whose move it is, 0 or 1


class EnvSteps(NamedTuple):
    """Results of one action in each of G environments."""

    observed: Observed  # after the action; at an ended episode its last frame
    rewards: F32  # [G] raw score
    terminated: Bool  # [G] the task ended, or a life was lost where lives end training episodes
    truncated: Bool  # [G] a time limit cut the episode
    game_over: Bool  # [G] the environment itself is over (false at a mere life loss)

    def rows(self, rows: Sequence[int]) -> EnvSteps:
        """Return the answers of these rows."""
        observed, *others = self
        return EnvSteps._make([observed.rows(rows), *(field[rows] for field in others)])


@dataclass(frozen=True, slots=True)
class Roots:
    """A planner's input: N observations with their legal actions."""

    observations: Frames | torch.Tensor  # [N, *observation]
    legal_actions: Bool | None = None  # [N, A]; None: all actions are legal

    def __len__(self) -> int:
        """Return N."""
        return len(self.observations)


class SearchResult(NamedTuple):
    """A planner's results at its roots."""

    visit_counts: I32  # [B, W] a search's sum M, every row has a visit; all 0 without a search
    policies: F32  # [B, W] what the policy is trained towards: visit shares or improved
    best_actions: I32  # [B] what the search recommends
    root_values: F32  # [B] mean value of the root, raw scale
    predicted_values: F32  # [B] the network's own value of the root
    prior_logits: F32  # [B, W] the network's own policy at the root, before any noise
    search_depths: I32  # [B] depth of the deepest leaf
    child_q: F32  # [B, W] Q of the actions, raw scale, NaN where unknown; [B, 0] if unread
    slot_actions: F32  # [B, W, X] the action in each slot; [B, 0, 0]: slot a is action a

    def actions_in(self, slots: NDArray[np.integer[Any]]) -> NDArray[Any]:
        """Return the actions in ``slots`` [B], as environments take them.

        Integers [B] as they are, or f32 [B, X] where actions are continuous.
        """
        if not self.slot_actions.size:
            return slots
        actions: F32 = self.slot_actions[np.arange(len(slots)), slots]
        return actions


class ReplayStep(NamedTuple):
    """One env_step as an actor hands it to replay."""

    frame: Frames  # [*frame] seen before acting
    action: int
    reward: float  # as the network is trained on it (clipped where configured)
    search_policy: F32  # [W]
    root_value: float  # search value of this observation
    priority: float  # with which it enters replay
    weights_version: int  # train_step of the weights that acted
    env_step: int  # env_steps of the run that were granted before this one
    # What only some environments have, as ``EnvSpec`` says:
    legal_actions: Bool | None = None  # [A] of what was seen
    to_play: int = 0  # whose move it was, 0 or 1
    mover: int = 0  # whose weights chose it: 0 the newest, k an opponent's (in runs with a pool)
    continuous_action: F32 | None = None  # [X]; ``action`` is 0 then
    policy_actions: F32 | None = None  # [W, X] the actions in the slots of ``search_policy``


class SliceBatch(NamedTuple):
    """B windows of episodes, each round a step t, padded to fixed length.

    Left padding repeats the episode's first frame, right padding its last. Everything else past
    the end of the episode is zero; ``steps_left`` says where that begins.
    """

    frames: Frames  # [B, S + K + n, *frame]; frames[:, S - 1] is o_t's newest frame
    actions: I32  # [B, K + Q], and n more where value targets correct for the acting policy
    rewards: F32  # [B, K + n]
    search_policies: F32  # [B, K + 1, W], and n more as ``actions``
    root_values: F32  # [B, K + n + 1]
    steps_left: I32  # [B] T - t, clipped to K + n + 1 (rewards that exist from t on)
    endings: U8  # [B] Ending of the episode if it ends inside the window, else RUNNING
    positions: I64  # [B] index of step t in its episode, from 0
    env_steps: I64  # [B] env_steps of the run that were granted before step t
    weights_versions: I64  # [B] train_step of the weights that acted at t
    keys: U64  # [B] item keys, for the priority update
    probabilities: F64  # [B] at sampling time
    table_sizes: I64  # [B] items in the table at sampling time
    priorities: F64  # [B] at sampling time
    # What only some environments have; a dimension is 0 in all others:
    legal_actions: Bool  # [B, K + n + 1, A] of the observations; [B, K + n + 1, 0]
    to_play: U8  # [B, K + n + 1] whose move it is at the observations; [B, 0]
    movers: I32  # [B, K + 1] whose weights moved: 0 the newest, k an opponent's; [B, 0]: no pool
    continuous_actions: F32  # [B, K + 1, X]
    policy_actions: F32  # [B, K + 1, W, X] the actions of ``search_policies``


class Phase(IntEnum):
    """Where the run is; the numbers are those of ``Phase`` in run.proto."""

    WARMUP = 1
    """Collecting, not training yet."""
    COLLECTING = 2
    """Collecting and training."""
    LAST_STEPS = 3
    """Training only: the env_step budget is completed."""
    FINISHED = 4
    """Everything is collected and trained; seen from outside, the last weights are out too."""


class Grant(NamedTuple):
    """The env_steps an actor may play now."""

    granted: int  # 0..wanted; 0 means ask again, unless collection has ended
    collection_ended: bool  # no env_step will ever be granted again
    phase: Phase  # WARMUP: act at random in the granted env_steps; else the run's phase
    max_priority: float = 1.0  # largest recent priority: what new steps enter replay with
    env_steps: int = 0  # granted in the run before these

    @property
    def is_random(self) -> bool:
        """Whether the granted env_steps are the warm-up's: acted at random, without a search."""
        return self.phase is Phase.WARMUP


class BatchTurn(NamedTuple):
    """The turn to make one training batch in a deterministic run."""

    target_train_step: int  # train_steps behind the target weights to make it with
    keys: Sequence[int]  # items of the batch before
    priorities: Sequence[float]  # their new priorities
