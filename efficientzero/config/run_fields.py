"""The run's fields: environment, budget, processes and tracking."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Literal

EnvKwargs = dict[str, bool | int | float | str]
"""Arguments of an environment's constructor by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AtariConfig:
    """Preprocessing of Atari games; other environments ignore it."""

    frame_skip: int = 4
    """Emulator frames per env_step; the last two are max-pooled."""
    image_size: int = 96
    """Frames are area-resized to image_size x image_size pixels."""
    grayscale: bool = False
    """One luminance channel instead of RGB."""
    noop_max: int = 30
    """A reset is followed by 1 to noop_max no-op emulator frames; 0 switches it off."""
    sticky_action_probability: float = 0.0
    """Chance that the emulator repeats the last action. EfficientZero's protocol has none."""
    episodic_life: bool = True
    """A lost life ends the training episode (never the evaluation's)."""
    full_action_space: bool = False
    """All 18 joystick actions instead of the game's minimal set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvConfig:
    """The task."""

    id: str = "ALE/Pong-v5"
    """A gymnasium id with discrete actions (ALE/Breakout-v5, CartPole-v1), or Catch-v0."""
    kwargs: EnvKwargs = field(default_factory=dict, hash=False)
    """Arguments of the environment's constructor: numbers, true, false, or words; "8" is a word."""
    num_stacked_frames: int = 4
    """Frames the network sees at once (S)."""
    action_repeat: int = 1
    """Times an action is taken, rewards added, in one env_step; of games, atari.frame_skip."""
    legal_actions: Literal["auto", "off"] = "auto"
    """auto: where the environment says which actions are legal, no other is played or searched at a
    root. off: that is ignored."""
    clip_rewards: bool = True
    """Train on the sign of the reward; scores are always reported unclipped."""
    max_episode_steps: int = 3_000
    """Time limit of training and periodic-evaluation episodes, in env_steps. 0: the env's own; an
    evaluation's is 1,000 where the env has none."""
    final_eval_max_episode_steps: int = 27_000
    """Time limit of the final evaluation's episodes, in env_steps. 0: the env's own, else 1,000."""
    atari: AtariConfig = field(default_factory=AtariConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetConfig:
    """How much is collected and trained, and in which ratio."""

    env_steps: int = 100_000
    """Env_steps to collect, warm-up included."""
    warmup_env_steps: int = 2_000
    """Env_steps collected with uniformly random actions before training starts."""
    train_steps: int = 100_000
    """Train_steps paired with collection, spread evenly over the env_steps after warm-up."""
    last_train_steps: int = 20_000
    """Further train_steps, exactly so many after collection has ended."""
    schedule_train_steps: int = 0
    """Length of schedules (temperatures, warm-up, importance exponent, off-policy tau) where it is
    not the run's: one of several runs that continue each other. 0: train_steps."""
    max_env_steps_ahead: int = 0
    """How far collection may run ahead of its pace. 0: two env_steps per environment."""

    @property
    def total_train_steps(self) -> int:
        """All train_steps of the run."""
        return self.train_steps + self.last_train_steps

    @property
    def train_steps_per_env_step(self) -> float:
        """Train_steps made while collecting, for each env_step after warm-up."""
        return self.train_steps / max(1, self.env_steps - self.warmup_env_steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConfig:
    """Processes, addresses and devices; cannot change what is learned."""

    num_actors: int = 1
    """Actor processes."""
    num_reanalyzers: int = 1
    """Reanalyzer processes."""
    evaluator: bool = True
    """Run the evaluator process."""
    bind_host: str = "127.0.0.1"
    """IPv4 address where learner and replay listen; beyond loopback only with credentials."""
    replay_host: str = ""
    """Host where others reach replay. Empty: the learner's."""
    replay_port: int = 0
    """Port of replay. 0: a free one, on loopback only."""
    replay_tls: bool = True
    """Beyond loopback replay is reached over TLS with the workers' token; off: in plain text."""
    replay_network: str = ""
    """Where replay listens and its peers are, 10.0.0.0/8 or several. Empty: any private network."""
    learner_port: int = 0
    """Port of the learner's gRPC service. 0: a free one, on loopback only."""
    device: str = "auto"
    """torch device of learner and searches: auto, cpu, cuda, cuda:1."""
    learner_device: str = ""
    """The learner's. One name, or a list, cuda:1,cuda:2, with one for each of learner.num_devices.
    Empty, here and below: cluster.device."""
    actor_device: str = ""
    """Actors'. Of a list they take one after another, by their index."""
    reanalyzer_device: str = ""
    """Reanalyzers'; a list as for actors."""
    evaluator_device: str = ""
    """The evaluator's."""
    max_restarts: int = 5
    """Times each actor or reanalyzer is started again after a crash; never if deterministic."""
    threads_per_process: int = 1
    """torch CPU threads of each process."""
    env_check_seconds: float = 120.0
    """Seconds that building, resetting and trying the environment may take before a run starts."""
    metrics_interval_seconds: float = 10.0
    """Seconds between metric rows of actors and reanalyzers."""
    deterministic: bool = False
    """Roles take turns by counts, not by time: one seed, the same weights bit by bit. CPU only."""

    @property
    def replay_networks(self) -> tuple[IPv4Network, ...]:
        """The named networks.

        Raises:
            ValueError: ``replay_network`` is none or several of them.
        """
        return tuple(map(IPv4Network, filter(None, self.replay_network.split(","))))

    @property
    def has_relay(self) -> bool:
        """Whether others reach replay through its relay; on loopback there are no others."""
        return self.replay_tls and not self.bind_host.startswith("127.")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackingConfig:
    """Weights & Biases, the only logging backend."""

    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    """auto: online with credentials and a reachable server, else offline."""
    entity: str = "stablegradients"
    """wandb entity."""
    project: str = "MonteCarloTreeSearch"
    """wandb project."""
    group_suffix: str = ""
    """Appended to the run group's name."""
    arm: str = ""
    """Name of this arm of a study, set by ablate: a tag in wandb, the label in reports."""
    ablated: tuple[str, ...] = ()
    """Dotted fields that the study's arms switch, set by ablate: first in group names that are too
    long for every difference."""
    varied: tuple[str, ...] = ()
    """The same of fields that the study varies besides."""
