"""EfficientZero's network: representation, dynamics, value prefix, prediction, projection.

Built by ``make_network``. It answers in logits, always; ``node_answers`` turns them into scalars by
``net.answer_rule``. (Where values are no categories, a value's "logits" are its one number in
transformed space.) Knows no search, no loss, no device. There is no control flow on data and no
wait for the device, so calls can be captured as CUDA graphs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from efficientzero.config import Config, NetworkConfig
from efficientzero.networks.blocks import Prediction, Trunk, ValuePrefixHead
from efficientzero.networks.classifiers import Classifier, DuelingClassifier, NoisyLinear
from efficientzero.networks.heads import (
    AUXILIARY_HEADS,
    Heads,
    auxiliary_heads_of,
    heads_of,
    inference_entries,
)
from efficientzero.networks.images.decoder import Decoder
from efficientzero.networks.node_answers import AnswerRule
from efficientzero.networks.norms import twin_of, with_own_statistics
from efficientzero.networks.supports import ValueSupport, make_support
from efficientzero.networks.trunks import make_trunk
from efficientzero.schema import EnvSpec, PolicyShape


class InitialInference(NamedTuple):
    """The network's outputs for an observation; float32 also under autocast."""

    latents: Tensor  # f32 [B, *latent]
    value_logits: Tensor  # f32 [B, bins]
    policy_logits: Tensor  # f32 [B, A]; [B, 2 X] of a squashed Gaussian
    action_value_logits: Tensor | None = None  # f32 [B, A, bins]; None: there is no such head
    auxiliary_value_logits: Tensor | None = None  # f32 [B, H, bins]; None: no such head


class RecurrentInference(NamedTuple):
    """The network's outputs for a latent and an action; float32 also under autocast."""

    latents: Tensor  # f32 [B, *latent] after the action
    lstm_states: Tensor  # f32 [B, 2, L] after the action
    value_prefix_logits: Tensor  # f32 [B, bins]
    value_logits: Tensor  # f32 [B, bins] of the latent after the action
    policy_logits: Tensor  # f32 [B, A], or [B, 2 X], of the latent after the action
    action_value_logits: Tensor | None = None  # f32 [B, A, bins] alike; None: no such head
    auxiliary_value_logits: Tensor | None = None  # f32 [B, H, bins] alike; None: no such head


class EfficientZeroNet(nn.Module):
    """The network h, g, f of MuZero with EfficientZero's value prefix and SimSiam projection."""

    projector: nn.Module
    predictor: nn.Module
    momentum_representation: nn.Module
    momentum_projector: nn.Module
    contrast_projector: nn.Module
    decoder: Decoder

    def __init__(
        self,
        config: NetworkConfig,
        spec: EnvSpec,
        heads: Heads,
        auxiliary: Iterable[str] = (),
    ) -> None:
        """Build the network with torch's default initialisation, on the CPU.

        Args:
            config: the trunk, and sizes.
            spec: shape of the observations, and the number of actions.
            heads: those that search reads.
            auxiliary: names of ``AUXILIARY_HEADS``, in their order.
        """
        super().__init__()
        self.spec, self._heads = spec, heads
        self.lstm_hidden_size = config.lstm_hidden_size if heads.value_prefix else 0
        self.support: ValueSupport = make_support(config)
        """Turns what the heads answer into scalars."""
        trunk = make_trunk(config, spec)
        self.latent_shape = trunk.latent_shape
        self.representation = trunk.representation
        self.dynamics = trunk.dynamics
        self.value_prefix_head = ValuePrefixHead(
            trunk.make_stem(),
            trunk.stem_size,
            lstm_hidden_size=self.lstm_hidden_size,
            hidden_size=config.head_hidden_size,
            num_bins=self.support.num_bins,
            norm=trunk.head_norm,
            zero_init=config.zero_init_heads,
        )

        def make_head(out_size: int) -> nn.Module:
            classifier = Classifier(
                trunk.stem_size,
                config.head_hidden_size,
                out_size,
                norm=trunk.head_norm,
                zero_init=config.zero_init_heads,
            )
            return nn.Sequential(trunk.make_stem(), classifier)

        self.prediction = Prediction(
            trunk.prediction_body,
            value_head=make_head(self.support.num_bins),
            policy_head=make_head(PolicyShape.of(spec).head_size),
        )
        self.root_prediction: Prediction | None = None
        """Of encoded latents, where their running statistics are kept apart."""
        if trunk.own_root_statistics:
            self.root_prediction = with_own_statistics(self.prediction)
        for name in auxiliary:
            self.add_module(name, AUXILIARY_HEADS[name].make(config, self))
        # Last: all others start from the same numbers with and without.
        if heads.action_values:
            self._add_head(
                "action_value_head",
                nn.Sequential(
                    trunk.make_stem(),
                    _action_values(config, heads, trunk, spec.num_actions, self.support.num_bins),
                ),
            )
        if heads.auxiliary_values:
            self._add_head(
                "auxiliary_value_head", make_head(heads.auxiliary_values * self.support.num_bins)
            )
        # Convolutions are quicker on channels-last weights, on CPU and GPU alike; the layout of
        # the weights carries over to all activations.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def answer_rule(self) -> AnswerRule:
        """How the outputs become the numbers that targets and losses take."""
        heads = self._heads
        return AnswerRule(self.support, heads.value, q_temperature=heads.q_temperature)

    @property
    def planning_rule(self) -> AnswerRule:
        """The same for trees, which may plan with another horizon."""
        heads = self._heads
        return AnswerRule(
            self.support,
            heads.value,
            heads.planning_horizon,
            heads.other_horizon_weight,
            heads.q_temperature,
        )

    @property
    def auxiliary_heads(self) -> nn.ModuleDict:
        """The heads that only training calls, by name; empty where nobody trains.

        They are children of the network itself: weights keep the names of older checkpoints.
        """
        return nn.ModuleDict({k: m for k, m in self.named_children() if k in AUXILIARY_HEADS})

    def initial_inference(self, observations: Tensor) -> InitialInference:
        """Encode observations and predict from them.

        Args:
            observations: [B, *spec.observation_shape]; uint8 is divided by 255 in here, floats
                are taken as they are (images in 0..1).
        """
        wanted = self.spec.observation_shape
        if observations.shape[1:] != wanted:
            got = tuple(observations.shape)
            raise ValueError(f"observations: got shape {got}, wanted [B, *{wanted}]")
        latents = self.representation(observations)
        predict = self.prediction if self.root_prediction is None else self.root_prediction
        return InitialInference(latents, **self._named(predict(latents)))

    def recurrent_inference(
        self, latents: Tensor, lstm_states: Tensor, actions: Tensor
    ) -> RecurrentInference:
        """Take one step with the model and predict from where it leads.

        Args:
            latents: f32 [B, *latent_shape].
            lstm_states: f32 [B, 2, L], h and c; see ``initial_lstm_states``.
            actions: i64 [B] in 0..A-1; of continuous ones f32 [B, X] in -1..1.
        """
        batch = len(actions)
        if latents.shape != (batch, *self.latent_shape):
            wanted = (batch, *self.latent_shape)
            raise ValueError(f"latents: got shape {tuple(latents.shape)}, wanted {wanted}")
        if lstm_states.shape != (batch, 2, self.lstm_hidden_size):
            wanted = (batch, 2, self.lstm_hidden_size)
            raise ValueError(f"lstm_states: got shape {tuple(lstm_states.shape)}, wanted {wanted}")
        next_latents = self.dynamics(latents, actions)
        prefix_logits, next_states = self.value_prefix_head(next_latents, lstm_states)
        return RecurrentInference(
            next_latents, next_states, prefix_logits, **self._named(self.prediction(next_latents))
        )

    @property
    def predictions(self) -> tuple[str, ...]:
        """Names of what ``prediction`` returns, in its order."""
        optional = {
            "action_value_logits": self._heads.action_values,
            "auxiliary_value_logits": self._heads.auxiliary_values,
        }
        return "value_logits", "policy_logits", *(name for name, has in optional.items() if has)

    def _named(self, logits: tuple[Tensor, ...]) -> dict[str, Tensor]:
        return dict(zip(self.predictions, logits, strict=True))

    def _add_head(self, name: str, head: nn.Module) -> None:
        """Add a head to the predictions, with separate statistics at roots where others have."""
        setattr(self.prediction, name, head)
        if self.root_prediction is not None:
            setattr(self.root_prediction, name, twin_of(head))

    def initial_lstm_states(self, batch_size: int) -> Tensor:
        """Return the state at roots and after resets: zeros f32 [B, 2, L], on this device."""
        shape = (batch_size, 2, self.lstm_hidden_size)
        return torch.zeros(shape, dtype=torch.float32, device=next(self.parameters()).device)

    def project(self, latents: Tensor, *, with_predictor: bool) -> Tensor:
        """Return SimSiam projections f32 [B, projection_size].

        Args:
            latents: f32 [B, *latent_shape].
            with_predictor: True for the predicted latents' branch; the encoded latents' branch
                has none, and its gradient is the caller's to stop.
        """
        projections: Tensor = self.projector(latents.flatten(1))
        if with_predictor:
            projections = self.predictor(projections)
        return projections.float()

    def inference_state_dict(self) -> dict[str, Tensor]:
        """Return all entries but the auxiliary heads': what actors and reanalyzers need.

        The tensors are the live ones, not copies.
        """
        return inference_entries(self.state_dict())

    def load_inference_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Copy ``state`` into the live tensors, whose addresses stay (CUDA graphs rely on it).

        Raises:
            ValueError: a tensor is missing, unexpected or misshapen; nothing was changed then.
        """
        live = self.inference_state_dict()
        for name in sorted(live.keys() ^ state.keys()):
            raise ValueError(f"{'missing' if name in live else 'unexpected'} tensor {name!r}")
        for name, tensor in live.items():
            if state[name].shape != tensor.shape:
                got, wanted = tuple(state[name].shape), tuple(tensor.shape)
                raise ValueError(f"{name!r}: got shape {got}, wanted {wanted}")
        with torch.no_grad():
            for name, tensor in live.items():
                tensor.copy_(state[name])


def _action_values(
    config: NetworkConfig, heads: Heads, trunk: Trunk, num_actions: int, num_bins: int
) -> nn.Module:
    """Return the last layers of the head for action values, [B, stem] -> f32 [B, A * bins]."""
    noisy = partial(NoisyLinear, sigma=heads.noisy_sigma)
    make = partial(
        Classifier,
        trunk.stem_size,
        config.action_value_hidden_size or config.head_hidden_size,
        norm=trunk.head_norm,
        zero_init=config.zero_init_heads,
        linear=noisy if heads.noisy_sigma else nn.Linear,
    )
    if heads.is_dueling:
        return DuelingClassifier(make, num_actions, num_bins)
    return make(num_actions * num_bins)


def make_network(config: Config, spec: EnvSpec, *, training: bool) -> EfficientZeroNet:
    """Build the network of a run, on the CPU; its weights are drawn from torch's generator.

    Args:
        config: the run's.
        spec: of its environment.
        training: with the auxiliary heads that the config's losses call. All other weights are the
            same with and without, but for heads of action values and of further horizons, which
            are drawn after them.
    """
    auxiliary = auxiliary_heads_of(config) if training else ()
    return EfficientZeroNet(config.network, spec, heads_of(config), auxiliary)
