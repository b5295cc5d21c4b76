"""The agent's fields: horizons, network, search, and where it follows the reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """What actors, reanalyzers and the learner must agree on."""

    discount: float = 0.997**4
    """Discount per env_step (the reference's 0.997 per emulator frame, skip 4)."""
    auxiliary_discounts: tuple[float, ...] = ()
    """Discounts of further value heads, each trained towards returns of its discount. Empty: none.
    """
    num_unroll_steps: int = 5
    """Steps the model is unrolled in training (K). 0: no model is trained."""
    td_steps: int = 5
    """Rewards summed before the bootstrap (n)."""
    value_prefix: bool = True
    """Predict reward sums with an LSTM; off: each step's reward."""
    value_prefix_horizon: int = 5
    """Steps after which the value prefix starts again from zero."""
    value_function: Literal["state", "action"] = "state"
    """state: the value head, V(s), is trained. action: a head with Q(s, a) of every action is, and
    a state is worth the largest of them."""
    double_q: bool = False
    """The newest weights choose the action at the end of the td_steps, the target network values it
    (double Q-learning); off: the target network does both."""
    value_distribution: Literal["two_hot", "categorical"] = "two_hot"
    """What categories of values are trained towards. two_hot: one number, split between its two
    neighbours. categorical: the distribution of the return (C51), moved by rewards and discount."""


Downsample = Literal[0, 1, 2, 4, 8, 16, 32]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """Sizes of the network. Images take the convolutional trunk, vectors the MLP one."""

    trunk: Literal["auto", "mlp"] = "auto"
    """mlp: also images take the MLP trunk, after a convolution (one for each halving of
    downsample). Cheap where they are small."""
    channels: int = 64
    """Latent channels of the convolutional trunk; the first stage has half."""
    num_blocks: int = 1
    """Residual blocks per stage."""
    downsample: Downsample = 0
    """Factor by which latents are smaller than images. 0: by the image's size, at launch."""
    reduced_channels: int = 16
    """Width of the 1x1 convolution before each head."""
    mlp_latent_size: int = 64
    """Latent size of the MLP trunk."""
    mlp_hidden_size: int = 128
    """Hidden width of the MLP trunk."""
    head_hidden_size: int = 32
    """Hidden width of the value, policy and value-prefix heads."""
    action_value_hidden_size: int = 0
    """Hidden width of the head with Q(s, a). 0: head_hidden_size."""
    lstm_hidden_size: int = 512
    """Width of the value-prefix LSTM."""
    projector_hidden_size: int = 1_024
    """Hidden width of the SimSiam projector."""
    projection_size: int = 1_024
    """Output width of the SimSiam projector and predictor."""
    predictor_hidden_size: int = 512
    """Bottleneck of the SimSiam predictor."""
    decoder_channels: int = 32
    """Channels of the decoder of the convolutional trunk (learner.reconstruction_coefficient)."""
    support_bound: int = 300
    """Values and prefixes are categorical over -bound..bound in transformed space."""
    norm: Literal["batch", "batch_by_call", "layer"] = "batch"
    """Of the convolutional trunk; the MLP trunk has layer norm. batch: one running statistic of all
    calls. batch_by_call: the prediction heads keep those of roots and of unrolled steps apart."""
    batch_norm_momentum: float = 0.1
    """Momentum of the batch-norm running statistics."""
    categorical_values: bool = True
    """Values and prefixes as categories; off: one number each in transformed space."""
    value_transform: Literal["sqrt", "identity"] = "sqrt"
    """Space of values and prefixes. sqrt: MuZero's h(x); identity: raw values."""
    support_bins: int = 0
    """Categories, evenly spaced over -bound..bound. 0: one per integer, 2 * support_bound + 1."""
    dueling: bool = False
    """Q(s, a) is the sum of a state's value and the advantage of the action, of two streams."""
    noisy_heads: bool = False
    """The layers of the head with Q(s, a) have trained noise, by which actors explore."""
    noisy_sigma: float = 0.5
    """Scale of that noise at the start, over the root of a layer's inputs."""
    action_embedding_size: int = 64
    """Continuous actions: width of the layer by which they enter the MLP trunk's dynamics."""
    zero_init_heads: bool = True
    """Start the last layer of each head at zero: uniform policy, zero value and prefix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchConfig:
    """Monte-Carlo tree search of actors, reanalyzers and the evaluator."""

    num_simulations: int = 50
    """Simulations per search (M). 0: no search, the highest Q(s, a) is the best action. Reanalyzers
    and the evaluator may have other numbers: reanalyzer.search_, evaluator.simulations."""
    algorithm: Literal["puct", "gumbel"] = "puct"
    """puct: MuZero's search. gumbel: Gumbel MuZero's, whose improved policy is the target."""
    planning_horizon: int = 0
    """Whose discount and values a search plans with: 0, agent.discount; h, the h-th of
    agent.auxiliary_discounts."""
    other_horizon_weight: float = 0.0
    """With planning_horizon above 0: leaves are worth that horizon's value plus so much of the
    value head's."""
    prior: Literal["policy", "action_values"] = "policy"
    """policy: the policy head's. action_values: softmax(Q / q_temperature) of the head with
    Q(s, a); the policy head is not read."""
    pb_c_init: float = 1.25
    """c_1 of the pUCT formula, and of the improved policy regularized."""
    pb_c_base: float = 19_652.0
    """c_2 of the pUCT formula, and of the improved policy regularized."""
    root_dirichlet_alpha: float = 0.3
    """Concentration of the Dirichlet noise mixed into root priors."""
    root_exploration_fraction: float = 0.25
    """Share of that noise; evaluation uses none."""
    root_policy_temperature: float = 1.0
    """Root priors are the policy head's logits over this; above 1 they are flatter, so that
    policies forget preferences that no value supports. Evaluation uses 1."""
    q_bounds: tuple[float, ...] = ()
    """Lowest and highest Q, where known beforehand: -1 1 in games that are won or lost. They
    normalise Q from the first simulation on. Empty: the Qs of the tree do. For puct, and gumbel
    with gumbel_q_range tree."""
    value_delta_max: float = 0.01
    """puct, improved policies, and gumbel with gumbel_q_range tree: lower bound of the min-max
    range that normalises Q."""
    normalize_q: bool = True
    """Scale Q to 0..1 by its range in the tree; off: the pUCT formula takes Q as it is."""
    unvisited_q: Literal["mean_q", "parent_value", "zero"] = "mean_q"
    """puct: Q of actions without a visit; mean_q: mean of visited siblings and parent; zero: the
    lowest Q of the tree, which is 0 once normalised (MuZero's)."""
    gumbel_max_considered_actions: int = 16
    """gumbel: most actions that sequential halving starts from at the root."""
    gumbel_maxvisit_init: float = 50.0
    """gumbel and completed_q: c_visit of the completed-Q transform."""
    gumbel_value_scale: float = 0.1
    """gumbel and completed_q: c_scale of the completed-Q transform."""
    gumbel_q_range: Literal["node", "tree"] = "node"
    """gumbel: what normalize_q divides completed Q by. node: its range at each node, as mctx, so
    that the smallest gap between actions counts fully. tree: that of all Qs and values in the
    tree, at least value_delta_max."""
    sampled_actions: int = 16
    """Continuous actions: how many are drawn at a root, and stored with the policy."""
    sampled_inner_actions: int = 2
    """Continuous actions: how many are drawn at every other node."""
    sampled_prior: Literal["uniform", "corrected"] = "uniform"
    """Continuous actions, prior of the drawn ones. uniform: all alike, EfficientZero V2's.
    corrected: policy over what they were drawn from, Sampled MuZero's."""
    sampled_gumbel_noise: bool = False
    """Continuous actions: roots also draw Gumbel variables; off: only the draws explore."""
    sampled_wide_factor: float = 3.0
    """Continuous actions: half of a root's are drawn with so many times the policy's scale; 1: all
    alike. Evaluation uses 1."""
    improved_policy: Literal[
        "algorithm", "completed_q", "regularized", "softmax_q", "mellowmax"
    ] = "algorithm"
    """What the policy is trained towards. algorithm: visit shares, or with gumbel its own improved
    policy. Others read Q of the root's actions, those without a visit completed by the network's
    value. completed_q: Gumbel MuZero's, after any search; regularized: Grill et al. (2020)."""
    q_temperature: float = 0.25
    """softmax_q: the policy is softmax(Q / this), with Q as normalize_q says. Also of priors from
    action values, and of the softmax loss that trains them; there Q is never normalised."""
    mellowmax_omega: float = 5.0
    """mellowmax: larger is greedier; the policy's mean Q is the mellowmax of Q."""
    num_threads: int = 1
    """Threads that share the trees of one search; results do not depend on it."""
    inference_backend: Literal["auto", "eager", "folded", "graphed"] = "auto"
    """How searches call the network; same up to rounding. auto: folded on CPU, graphed on CUDA."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the network's arithmetic in searches. auto: bfloat16 autocast on CUDA, else float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompatConfig:
    """What the reference does differently from the paper, or wrongly; one switch each.

    All off by default; ``--compat reference`` turns all of them on (docs/reference/compat.md).
    """

    stale_prefix_bounds: bool = False
    """D1: min-max bounds from rewards against the previously visited node, not the parent."""
    recomputed_bounds: bool = False
    """After each simulation min-max bounds are those of the Qs as they are now; they can narrow."""
    root_visit_without_value: bool = False
    """D2: the root value is divided by one visit more than it has values."""
    block_length: int = 0
    """D3: no bootstrap past every block of so many env_steps (reference: 400). 0: no blocks."""
    random_first_child: bool = False
    """D9: the prior does not count in a node's first selection, which is uniformly random."""
    truncation_is_terminal: bool = False
    """D10: nothing is worth anything past a time limit."""
    gradient_scaling: Literal["muzero", "reference"] = "muzero"
    """D11: reference scales the whole loss by 1/K and each latent's whole gradient by 1/2."""
    target_weights_lag: int = 0
    """Intervals by which published target weights are old (reference: 1)."""
    transition_age: bool = False
    """Off-policy age counted in stored transitions, not in train_steps."""
    warmup_earns_train_steps: bool = False
    """The warm-up pays for train_steps, too: they are made before more is played."""
    jpeg_frames: bool = False
    """Every frame passes through JPEG before anything sees it."""
