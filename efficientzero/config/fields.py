"""Every hyperparameter of a run: frozen dataclasses whose defaults are EfficientZero's Atari 100k.

``launch.py`` resolves one ``Config`` (defaults < preset < command line), validates it and writes
it to ``runs/<id>/config.json``; every role reads that file only. The docstring under a field is its
``--help``. Derived values are properties. Nothing here imports a sibling.
"""

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
    """Times an action is repeated in one env_step, rewards summed; Atari: see atari.frame_skip."""
    clip_rewards: bool = True
    """Train on the sign of the reward; scores are always reported unclipped."""
    max_episode_steps: int = 3_000
    """Time limit of training and periodic-evaluation episodes, in env_steps. 0: the environment's
    limit; if it has none, evaluations use 1,000."""
    final_eval_max_episode_steps: int = 27_000
    """Time limit of the final evaluation's episodes, in env_steps. 0: the environment's, else
    1,000."""
    atari: AtariConfig = field(default_factory=AtariConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetConfig:
    """Amounts of collection and training, and their ratio."""

    env_steps: int = 100_000
    """Env_steps to collect, warm-up included."""
    warmup_env_steps: int = 2_000
    """Env_steps collected with uniformly random actions before training starts."""
    train_steps: int = 100_000
    """Train_steps paired with collection, spread evenly over the env_steps after warm-up."""
    last_train_steps: int = 20_000
    """Number of further train_steps after collection has ended."""
    max_env_steps_ahead: int = 0
    """Env_steps that collection may run ahead of its pace. 0: two per environment."""

    @property
    def total_train_steps(self) -> int:
        """All train_steps of the run."""
        return self.train_steps + self.last_train_steps

    @property
    def train_steps_per_env_step(self) -> float:
        """Train_steps made while collecting, for each env_step after warm-up."""
        return self.train_steps / max(1, self.env_steps - self.warmup_env_steps)


Downsample = Literal[0, 1, 2, 4, 8, 16, 32]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """Sizes of the network. Images use the convolutional trunk, vectors the MLP trunk."""

    trunk: Literal["auto", "mlp"] = "auto"
    """mlp: images also use the MLP trunk, after a convolution (one for each halving of downsample).
    Cheap for small images."""
    channels: int = 64
    """Latent channels of the convolutional trunk; the first stage has half."""
    num_blocks: int = 1
    """Residual blocks per stage."""
    downsample: Downsample = 0
    """Factor by which latents are smaller than images. 0: chosen at launch by the image size."""
    reduced_channels: int = 16
    """Width of the 1x1 convolution before each head."""
    mlp_latent_size: int = 64
    """Latent size of the MLP trunk."""
    mlp_hidden_size: int = 128
    """Hidden width of the MLP trunk."""
    head_hidden_size: int = 32
    """Hidden width of the value, policy and value-prefix heads."""
    lstm_hidden_size: int = 512
    """Width of the value-prefix LSTM."""
    projector_hidden_size: int = 1_024
    """Hidden width of the SimSiam projector."""
    projection_size: int = 1_024
    """Output width of the SimSiam projector and predictor."""
    predictor_hidden_size: int = 512
    """Bottleneck of the SimSiam predictor."""
    support_bound: int = 300
    """Values and prefixes are categorical over -bound..bound in transformed space."""
    norm: Literal["batch", "batch_by_call", "layer"] = "batch"
    """Norm of the convolutional trunk; the MLP trunk has layer norm. batch: running statistics over
    all calls. batch_by_call: prediction heads have separate statistics for roots and for unrolled
    steps."""
    batch_norm_momentum: float = 0.1
    """Momentum of the batch-norm running statistics."""
    categorical_values: bool = True
    """Predict values and prefixes as categories; off: as one number in transformed space."""
    zero_init_heads: bool = True
    """Start the last layer of each head at zero: uniform policy, zero value and prefix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchConfig:
    """Monte-Carlo tree search of actors, reanalyzers and the evaluator."""

    num_simulations: int = 50
    """Simulations per search (M); reanalyzers: see reanalyzer.search_simulations."""
    algorithm: Literal["puct", "gumbel"] = "puct"
    """puct: MuZero's search. gumbel: Gumbel MuZero's, whose improved policy is the target."""
    pb_c_init: float = 1.25
    """c_1 of the pUCT formula."""
    pb_c_base: float = 19_652.0
    """c_2 of the pUCT formula."""
    root_dirichlet_alpha: float = 0.3
    """Concentration of the Dirichlet noise mixed into root priors."""
    root_exploration_fraction: float = 0.25
    """Share of that noise in root priors; evaluation uses none."""
    root_policy_temperature: float = 1.0
    """Temperature of root priors: the policy head's logits are divided by it. Above 1 priors are
    flatter, so that policies forget preferences that no value supports. Evaluation uses 1."""
    value_delta_max: float = 0.01
    """puct: lower bound of the min-max range that normalises Q."""
    normalize_q: bool = True
    """Scale Q to 0..1 by its range in the tree; off: the pUCT formula uses the unscaled Q."""
    unvisited_q: Literal["mean_q", "parent_value", "zero"] = "mean_q"
    """puct: Q of actions without a visit. mean_q: mean of visited siblings and parent. zero: the
    lowest Q of the tree, which is 0 when normalised (as in MuZero)."""
    gumbel_max_considered_actions: int = 16
    """gumbel: most actions that sequential halving starts from at the root."""
    gumbel_maxvisit_init: float = 50.0
    """gumbel: c_visit of the completed-Q transform."""
    gumbel_value_scale: float = 0.1
    """gumbel: c_scale of the completed-Q transform."""
    num_threads: int = 1
    """Threads that share the trees of one search; results do not depend on it."""
    inference_backend: Literal["auto", "eager", "folded", "graphed"] = "auto"
    """How searches call the network; same up to rounding. auto: folded on CPU, graphed on CUDA."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the network in searches. auto: bfloat16 autocast on CUDA, else float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """Settings on which actors, reanalyzers and the learner must agree."""

    discount: float = 0.997**4
    """Discount per env_step (the reference's 0.997 per emulator frame, skip 4)."""
    num_unroll_steps: int = 5
    """Steps the model is unrolled in training (K)."""
    td_steps: int = 5
    """Rewards summed before the bootstrap (n)."""
    value_prefix: bool = True
    """Predict reward sums with an LSTM; off: each step's reward."""
    value_prefix_horizon: int = 5
    """Steps after which the value prefix starts again from zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompatConfig:
    """Differences of the reference implementation from the paper, and its errors; a switch each.

    All off by default; ``--compat reference`` turns all of them on (docs/reference/compat.md).
    """

    stale_prefix_bounds: bool = False
    """D1: min-max bounds from rewards against the previously visited node, not the parent."""
    recomputed_bounds: bool = False
    """Recompute min-max bounds from the current Qs after each simulation; they can narrow."""
    root_visit_without_value: bool = False
    """D2: the root value's sum is divided by one more than its number of values."""
    block_length: int = 0
    """D3: no bootstrap across blocks of this many env_steps (reference: 400). 0: no blocks."""
    random_first_child: bool = False
    """D9: the prior does not count in a node's first selection, which is uniformly random."""
    truncation_is_terminal: bool = False
    """D10: the value after a time limit is 0."""
    gradient_scaling: Literal["muzero", "reference"] = "muzero"
    """D11: reference scales the whole loss by 1/K and each latent's whole gradient by 1/2."""
    target_weights_lag: int = 0
    """Age of published target weights, in intervals (reference: 1)."""
    transition_age: bool = False
    """Off-policy age counted in stored transitions, not in train_steps."""
    warmup_earns_train_steps: bool = False
    """Warm-up env_steps also count for the pace: their train_steps come before more is played."""
    jpeg_frames: bool = False
    """Compress and decompress every frame with JPEG before it is used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorConfig:
    """Self-play."""

    num_envs: int = 4
    """Environments that one actor steps together with one batched search (E). 0: timed at start."""
    pipeline: Literal["auto", "on", "off"] = "auto"
    """on: one half of the environments searches while the other steps. auto: on with a GPU."""
    temperatures: tuple[float, ...] = (1.0, 0.5, 0.25)
    """Visit-count temperatures; train_steps are split by temperature_steps."""
    temperature_fractions: tuple[float, ...] = (0.5, 0.75)
    """Fractions of budget.train_steps at which the next temperature begins."""
    random_action_share: float = 0.0
    """Share of actions in training that are drawn uniformly (DQN's epsilon)."""
    random_action_repeat: bool = False
    """Repeat each of these for n steps, with probability proportional to 1 / n^2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayConfig:
    """The Reverb service."""

    capacity: int = 1_000_000
    """Transitions kept; the oldest are evicted first."""
    priority_exponent: float = 0.6
    """alpha of prioritised replay; 0 samples uniformly."""
    importance_exponent: float = 0.4
    """beta of the importance weights at the start."""
    importance_exponent_final: float = 1.0
    """beta at the end of training; linear in between."""
    initial_priority: Literal["max", "value_error"] = "max"
    """Priority of new steps. max: the largest recent one; value_error: |search - network value|."""
    priority_refresh_share: float = 0.0
    """Stored steps, drawn uniformly, that get a fresh priority per slice trained on. 0: none."""
    frames_per_block: int = 24
    """Steps of an episode that are compressed and sent together."""
    queue_size: int = 2
    """Training batches that may wait for the learner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReanalyzerConfig:
    """Fresh targets for old data."""

    policy_reanalyze_ratio: float = 0.99
    """Share of each batch whose policy targets come from a fresh search."""
    value_bootstrap: Literal["network", "search"] = "network"
    """Value at the end of the td_steps: the target network's, or the root's of a fresh search."""
    value_target: Literal["td", "search", "mixed"] = "td"
    """td: n-step returns. search: root values of fresh searches at the positions themselves,
    without stored rewards. mixed: td (always n steps) early in training and for new steps, else
    search."""
    mixed_start_train_steps: int = 40_000
    """mixed: before target weights have this many train_steps, all value targets are td's."""
    mixed_fresh_env_steps: int = 20_000
    """mixed: steps younger than this many env_steps keep td's value targets."""
    off_policy_correction: bool = True
    """Shorten td_steps for old data."""
    off_policy_tau: float = 0.3
    """td_steps decreases by one per tau * budget.train_steps of age."""
    search_simulations: int = 0
    """Simulations of a reanalyzer's search. 0: search.num_simulations."""
    search_batch_size: int = 0
    """Most roots searched at once. 0: the fastest number, timed at start; 256 if deterministic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerConfig:
    """Optimisation."""

    batch_size: int = 256
    """Slices per train_step (B)."""
    num_devices: int = 1
    """Processes that share each batch, on cuda:0, cuda:1 and so on; same result up to rounding."""
    optimizer: Literal["sgd", "adamw", "lars"] = "sgd"
    """sgd: with momentum, as in the reference. lars: rates by layer, for very large batches."""
    trust_coefficient: float = 0.001
    """lars: share of its norm by which a layer moves in a step, times learning_rate."""
    learning_rate: float = 0.2
    """Peak learning rate, reached after the warm-up."""
    lr_warmup_fraction: float = 0.01
    """Share of budget.train_steps over which the rate rises from zero."""
    lr_decay_rate: float = 0.1
    """Factor applied every lr_decay_steps after warm-up."""
    lr_decay_steps: int = 100_000
    """Train_steps between decays."""
    momentum: float = 0.9
    """SGD momentum."""
    weight_decay: float = 1e-4
    """L2 on all parameters."""
    max_grad_norm: float = 5.0
    """Limit to which the global gradient norm is clipped."""
    value_prefix_coefficient: float = 1.0
    """Weight of the value-prefix loss."""
    value_coefficient: float = 0.25
    """Weight of the value loss."""
    policy_coefficient: float = 1.0
    """Weight of the policy loss."""
    consistency_coefficient: float = 2.0
    """Weight of the self-supervised consistency loss; 0: it is not computed."""
    augmentation: bool = True
    """Random shift and intensity on image observations."""
    shift_pixels: int = 4
    """Largest random shift."""
    intensity_scale: float = 0.05
    """Standard deviation of the random intensity factor."""
    independent_augmentation: bool = True
    """Draw a separate shift and intensity for the frames of consistency targets, so that the two
    branches compare different views; off: one draw per sample for all frames."""
    publish_interval: int = 100
    """Train_steps between publications of the latest weights; the first train_step's are published
    at once."""
    target_interval: int = 200
    """Train_steps between publications of the target weights."""
    max_batch_staleness: int = 0
    """Largest age of a batch's target weights, in train_steps; older batches are dropped.
    0: automatic, the largest age in a healthy run plus two target intervals."""
    weights_dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of published matrices and kernels. bfloat16: half the bytes. A search in bfloat16
    rounds them anyway, except the heads' last layers, which run in float32."""
    average_decay: float = 0.0
    """Decay per train_step of an exponential moving average of the weights. 0: no average."""
    average_for: Literal["acting", "targets", "both"] = "acting"
    """Users of the average: actors and evaluations, reanalyzers, or both; others get the newest
    weights."""
    checkpoint_interval: int = 1_000
    """Train_steps between checkpoints."""
    checkpoints_kept: int = 2
    """Newest checkpoints kept on disk."""
    log_interval: int = 100
    """Train_steps between metric rows."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 autocast on CUDA, float32 on CPU."""
    compile: bool = False
    """torch.compile the network's parts: takes minutes at the start; same result up to rounding."""

    @property
    def acts_on_average(self) -> bool:
        """Whether actors and evaluations play with averaged weights."""
        return self.average_decay > 0 and self.average_for != "targets"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatorConfig:
    """Greedy episodes on the newest weights."""

    interval_train_steps: int = 10_000
    """Train_steps between evaluations."""
    num_episodes: int = 32
    """Episodes per periodic evaluation, played in parallel."""
    final_num_episodes: int = 32
    """Episodes of the final evaluation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConfig:
    """Processes, addresses and devices; they do not change results."""

    num_actors: int = 1
    """Actor processes."""
    num_reanalyzers: int = 1
    """Reanalyzer processes."""
    evaluator: bool = True
    """Run the evaluator process."""
    bind_host: str = "127.0.0.1"
    """IPv4 address where learner and replay listen; beyond loopback only with credentials."""
    replay_host: str = ""
    """Host name of replay for other processes. Empty: the learner's."""
    replay_port: int = 0
    """Port of replay. 0: a free one, on loopback only."""
    replay_tls: bool = True
    """Beyond loopback, clients reach replay over TLS with the workers' token; off: plain text."""
    replay_network: str = ""
    """Networks of replay and its peers, such as 10.0.0.0/8. Empty: any private network."""
    learner_port: int = 0
    """Port of the learner's gRPC service. 0: a free one, on loopback only."""
    device: str = "auto"
    """torch device of learner and searches: auto, cpu, cuda, cuda:1."""
    max_restarts: int = 5
    """Times each actor or reanalyzer is started again after a crash; never if deterministic."""
    threads_per_process: int = 1
    """torch CPU threads of each process."""
    env_check_seconds: float = 120.0
    """Longest time to build, reset and try the environment before a run starts, seconds."""
    metrics_interval_seconds: float = 10.0
    """Seconds between metric rows of actors and reanalyzers."""
    deterministic: bool = False
    """Roles take turns by counts, not by time: equal seeds give bit-identical weights. CPU only."""

    @property
    def replay_networks(self) -> tuple[IPv4Network, ...]:
        """The named networks.

        Raises:
            ValueError: ``replay_network`` is none or several of them.
        """
        return tuple(map(IPv4Network, filter(None, self.replay_network.split(","))))

    @property
    def has_relay(self) -> bool:
        """Whether clients reach replay through its relay; not needed on loopback."""
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
    """Dotted fields that the study's arms switch, set by ablate. Group names too long for every
    difference list them first."""
    varied: tuple[str, ...] = ()
    """Further dotted fields that the study varies, set by ablate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One run."""

    seed: int = 0
    """Root of the seed tree; two runs that differ only here are repetitions."""
    preset: str = "atari100k"
    """Name of the preset the run started from."""
    env: EnvConfig = field(default_factory=EnvConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    agent: AgentConfig = field(default_factory=AgentConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    compat: CompatConfig = field(default_factory=CompatConfig)
    actor: ActorConfig = field(default_factory=ActorConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    reanalyzer: ReanalyzerConfig = field(default_factory=ReanalyzerConfig)
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    evaluator: EvaluatorConfig = field(default_factory=EvaluatorConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    @property
    def reanalyzer_simulations(self) -> int:
        """Simulations of a reanalyzer's search."""
        return self.reanalyzer.search_simulations or self.search.num_simulations

    @property
    def max_env_steps_ahead(self) -> int:
        """Env_steps that collection may run ahead of its pace (see BudgetConfig)."""
        in_lock_step = self.cluster.num_actors * self.most_envs
        return self.budget.max_env_steps_ahead or 2 * in_lock_step

    @property
    def most_envs(self) -> int:
        """Most environments of an actor; if it chooses, actors may be 0.5 % of the run ahead."""
        ahead = self.budget.max_env_steps_ahead or self.budget.env_steps // 200
        most = min(64, max(1, ahead // (2 * max(1, self.cluster.num_actors))))
        return self.actor.num_envs or most
