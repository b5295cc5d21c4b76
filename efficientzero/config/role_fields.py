"""What each role does: actor, replay, reanalyzer, learner and evaluator."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

_DIGITS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorConfig:
    """Self-play."""

    num_envs: int = 4
    """Environments one actor steps in lock step with one batched search (E). 0: timed at start."""
    pipeline: Literal["auto", "on", "off"] = "auto"
    """on: one half of the environments searches while the other steps. auto: on with a GPU."""
    temperatures: tuple[float, ...] = (1.0, 0.5, 0.25)
    """Visit-count temperatures; train_steps are split by temperature_steps."""
    temperature_fractions: tuple[float, ...] = (0.5, 0.75)
    """Fractions of budget.schedule_train_steps at which the next temperature begins."""
    action_rule: Literal["auto", "visits", "recommended", "policy", "epsilon_greedy"] = "auto"
    """Which actions are played. auto: those that gumbel recommends; with puct drawn by visits.
    policy: drawn from what the policy is trained towards. epsilon_greedy: the highest Q."""
    epsilon_start: float = 1.0
    """epsilon_greedy: share of uniformly drawn actions at train_step 0."""
    epsilon_end: float = 0.01
    """epsilon_greedy: that share at the end of its schedule."""
    epsilon_fraction: float = 0.1
    """epsilon_greedy: fraction of budget.schedule_train_steps over which it falls linearly."""
    temperature_plies: int = 0
    """Moves of an episode after which the most visited action is played. 0: no limit."""
    random_action_share: float = 0.0
    """Share of actions in training that are drawn uniformly (DQN's epsilon)."""
    random_action_repeat: bool = False
    """Each random action is repeated n times, with probability proportional to 1 / n^2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayConfig:
    """The Reverb service."""

    capacity: int = 1_000_000
    """Transitions kept; the oldest go first."""
    priority_exponent: float = 0.6
    """alpha of prioritised replay; 0 samples uniformly."""
    importance_exponent: float = 0.4
    """beta of the importance weights at the start."""
    importance_exponent_final: float = 1.0
    """beta at the end of training; linear in between."""
    initial_priority: Literal["max", "value_error"] = "max"
    """Priority of new steps. max: the largest recent; value_error: |search - network value|."""
    priority: Literal["value_error", "kl"] = "value_error"
    """Of steps that were trained on. kl: the divergence of the value distribution from its target,
    Rainbow's."""
    priority_refresh_share: float = 0.0
    """Stored steps that get a fresh priority, per slice trained on; drawn uniformly. 0: none."""
    frames_per_block: int = 24
    """Steps of an episode that are compressed and sent together."""
    queue_size: int = 2
    """Training batches that may wait for the learner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReanalyzerConfig:
    """Fresh targets for old data."""

    policy_reanalyze_ratio: float = 0.99
    """Share of each batch whose policy targets come from a fresh search."""
    value_bootstrap: Literal["network", "search", "max_action_value"] = "network"
    """Value at the end of the td_steps: the target network's, the root's of a fresh search, or the
    largest Q(s, a) of the target network, where the value head is trained beside it."""
    value_target: Literal["td", "search", "mixed", "td_lambda", "v_trace", "retrace"] = "td"
    """td: n-step returns. search: root values of fresh searches at the positions themselves, with
    no stored rewards. mixed: td early in training and for new steps, all n of them, else search.
    td_lambda: returns of all horizons up to td_steps, averaged (TD(lambda), GAE).
    v_trace: n-step returns corrected for the actions that the newer policy would not take.
    retrace: the same for Q(s, a)."""
    target_policy: Literal["policy", "greedy"] = "policy"
    """retrace: whose Q is learned. policy: softmax(Q / search.q_temperature); greedy: the best
    action."""
    td_lambda: float = 0.95
    """td_lambda: 1 is td, 0 bootstraps after one step. v_trace, retrace: weight of each
    further step."""
    rho_clip: float = 1.0
    """v_trace: a step counts at most so much; decides which policy's value is learned."""
    c_clip: float = 1.0
    """v_trace: what follows a step counts at most so much; less variance, slower."""
    mixed_start_train_steps: int = 40_000
    """mixed: with target weights of fewer train_steps every value target is td's."""
    mixed_fresh_env_steps: int = 20_000
    """mixed: steps younger than so many env_steps keep td's value targets."""
    off_policy_correction: bool = True
    """Shorten td_steps for old data."""
    off_policy_tau: float = 0.3
    """Every tau * budget.schedule_train_steps of age takes one td step away."""
    search_simulations: int = 0
    """Simulations of a reanalyzer's search. 0: search.num_simulations, as in actors."""
    search_batch_size: int = 0
    """Roots searched at once at the most. 0: the fastest, timed at start; 256 if deterministic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerConfig:
    """Optimisation."""

    batch_size: int = 256
    """Slices per train_step (B)."""
    num_devices: int = 1
    """Processes that share each batch, on cuda:0, cuda:1 and so on; same up to rounding."""
    optimizer: Literal["sgd", "adamw", "lars"] = "sgd"
    """sgd is the reference's, with momentum. lars: rates by layer, for very large batches."""
    trust_coefficient: float = 0.001
    """lars: share of its norm by which a layer moves in a step, times learning_rate."""
    learning_rate: float = 0.2
    """Peak learning rate, reached after the warm-up."""
    lr_warmup_fraction: float = 0.01
    """Share of budget.schedule_train_steps over which the rate climbs from zero."""
    lr_decay_rate: float = 0.1
    """Factor applied every lr_decay_steps after warm-up."""
    lr_decay_steps: int = 100_000
    """Train_steps between decays."""
    momentum: float = 0.9
    """SGD momentum."""
    weight_decay: float = 1e-4
    """L2 on all parameters."""
    max_grad_norm: float = 5.0
    """Global gradient norm is clipped to this."""
    value_prefix_coefficient: float = 1.0
    """Weight of the value-prefix loss."""
    value_coefficient: float = 0.25
    """Weight of the value loss."""
    auxiliary_value_coefficient: float = 0.25
    """Weight of the loss of each of agent.auxiliary_discounts."""
    policy_coefficient: float = 1.0
    """Weight of the policy loss."""
    action_value_coefficient: float = 0.0
    """Weight of the loss that trains Q(s, a) towards Q of the roots of fresh searches; above 0 the
    network has a head for it. 0 removes its work."""
    action_value_loss: Literal["regression", "softmax"] = "regression"
    """regression: towards Q of the visited actions, as values are trained. softmax: cross-entropy
    with softmax(Q / search.q_temperature)."""
    continuous_policy_loss: Literal["auto", "full", "best"] = "auto"
    """Continuous actions. full: log densities of all drawn actions, weighted as the search weighs
    them; best: of the best one alone. auto: full of actions of one number, else best."""
    entropy_coefficient: float = 0.0
    """Continuous actions: weight of the policy's entropy, which is added to what is maximised.
    0 removes its work."""
    consistency_coefficient: float = 2.0
    """Weight of the self-supervised consistency loss; 0 removes its work."""
    consistency: Literal["simsiam", "spr", "nce"] = "simsiam"
    """What predicted latents are compared with. simsiam: the encoder's own, by cosine. spr: those
    of a moving average of the encoder, by cosine. nce: the encoder's, against all other slices'."""
    momentum_tau: float = 0.99
    """spr: share of the moving average that stays per train_step; 0: the encoder itself."""
    nce_temperature: float = 0.1
    """nce: divides the cosines; lower: the most similar slices count more."""
    nce_same_episode_negatives: bool = False
    """nce: other steps of the same slice are negatives, too."""
    huber_delta: float = 0.0
    """Error, in transformed space, from which the value loss grows linearly (Huber), without
    categories. 0: squared errors."""
    reconstruction_coefficient: float = 0.0
    """Weight of the loss of newest frames decoded from latents; 0 removes its work. Set
    independent_augmentation off with it: no latent can know another draw's shift."""
    reconstruction_train_steps: int = 0
    """Train_steps in which that weight falls linearly to 0, and the decoder's work with it.
    0: it stays."""
    augmentation: bool = True
    """Random shift and intensity on image observations."""
    shift_pixels: int = 4
    """Largest random shift."""
    intensity_scale: float = 0.05
    """Standard deviation of the random intensity factor."""
    independent_augmentation: bool = True
    """The consistency targets' frames get a separate shift and intensity, so that the two
    branches compare different views; off: one draw per sample for all frames."""
    publish_interval: int = 100
    """Train_steps between publications of the latest weights; those of the first go out at once."""
    target_interval: int = 200
    """Train_steps between publications of the target weights."""
    target_network: Literal["reanalyzer", "local"] = "reanalyzer"
    """Who values the end of the td_steps. local: the learner itself, with a copy of its weights
    that it renews every target_interval train_steps exactly, as DQN does."""
    max_batch_staleness: int = 0
    """Train_steps a batch's target weights may be behind; older batches are dropped.
    0: automatic, the largest age of a healthy run plus two target intervals."""
    weights_dtype: Literal["float32", "bfloat16"] = "float32"
    """Of published matrices and kernels. bfloat16: half the bytes. It rounds what a search in
    bfloat16 rounds anyway, and the heads' last layers, which run in float32."""
    average_decay: float = 0.0
    """Per train_step, of an exponential moving average of the weights. 0: no average."""
    average_for: Literal["acting", "targets", "both"] = "acting"
    """Which roles use the average: acting (with evaluation), targets or both; others the newest."""
    checkpoint_interval: int = 1_000
    """Train_steps between checkpoints."""
    checkpoints_kept: int = 2
    """Newest checkpoints kept on disk."""
    log_interval: int = 100
    """Train_steps between metric rows."""
    stop_on_collapse: bool = False
    """End the run, with a checkpoint, when policy, values or latents have collapsed; off: warn."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 autocast on CUDA, float32 on CPU."""
    compile: bool = False
    """torch.compile the network's parts: minutes at the start, same up to rounding after it."""

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
    """Episodes per periodic evaluation, played side by side."""
    final_num_episodes: int = 32
    """Episodes of the final evaluation."""
    simulations: int = 0
    """Simulations per search. 0: search.num_simulations."""
    epsilon: float = 0.0
    """Share of actions that are drawn uniformly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeagueConfig:
    """Opponents in games of two players: fixed ones, and a pool of the run's own past weights."""

    baselines: tuple[str, ...] = ("random",)
    """Fixed opponents of every evaluation, half of the games in each seat: random, minimax (small
    games) and mcts-<n> (OpenSpiel's). Returns are the scores against the first one."""
    pool_share: float = 0.0
    """Share of an actor's environments that play against members of the pool, which are past
    weights. 0: no pool, and of the others only baselines count."""
    snapshot_interval: int = 1_000
    """Train_steps between members; a multiple of learner.publish_interval."""
    capacity: int = 20
    """Members kept."""
    sampling: Literal["uniform", "pfsp_hard", "pfsp_variance", "newest"] = "pfsp_hard"
    """How members are drawn. pfsp_hard: mostly those that win; pfsp_variance: mostly equals."""
    power: float = 2.0
    """pfsp_hard: a member that loses the share x of its games counts (1 - x)^power."""
    uniform_share: float = 0.1
    """Share of members that are drawn uniformly."""
    baseline_share: float = 0.0
    """Share of the pool's games that are against baselines in place of members."""
    ladder_games: int = 0
    """Games of each evaluation against each of the oldest, the middle and the newest member, an
    even number. 0: against the baselines only."""

    @property
    def has_pool(self) -> bool:
        """Whether past weights are kept and played against."""
        return self.pool_share > 0

    def num_pool_envs(self, num_envs: int) -> int:
        """Return how many of an actor's environments play against the pool."""
        return math.ceil(round(self.pool_share * num_envs, _DIGITS))
