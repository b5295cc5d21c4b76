"""EfficientZero's network: representation, dynamics, value prefix, prediction, projection.

Built by every role that searches or trains, always the same class. It answers in logits, always;
callers turn them into scalars with ``net.support``. (Where values are no categories, a value's
"logits" are its one number in transformed space.) Knows no search, no loss, no device. There is
no control flow on data and no wait for the device, so calls can be captured as CUDA graphs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from efficientzero.config import NetworkConfig, has_conv_trunk
from efficientzero.networks.blocks import (
    Classifier,
    Prediction,
    ValuePrefixHead,
    make_predictor,
    make_projector,
)
from efficientzero.networks.conv_trunk import make_conv_trunk
from efficientzero.networks.mlp_trunk import make_mlp_trunk
from efficientzero.networks.norms import with_own_statistics
from efficientzero.networks.scalar_support import ScalarRegression, ScalarSupport
from efficientzero.schema import EnvSpec

_TRAINING_ONLY = ("projector.", "predictor.")


class InitialInference(NamedTuple):
    """What the network says about an observation; float32 also under autocast."""

    latents: Tensor  # f32 [B, *latent]
    value_logits: Tensor  # f32 [B, bins]
    policy_logits: Tensor  # f32 [B, A]


class RecurrentInference(NamedTuple):
    """What the network says about a latent and an action; float32 also under autocast."""

    latents: Tensor  # f32 [B, *latent] after the action
    lstm_states: Tensor  # f32 [B, 2, L] after the action
    value_prefix_logits: Tensor  # f32 [B, bins]
    value_logits: Tensor  # f32 [B, bins] of the latent after the action
    policy_logits: Tensor  # f32 [B, A] of the latent after the action


def inference_entries(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the entries of a ``state_dict`` that a network without projection has."""
    return {k: v for k, v in state.items() if not k.startswith(_TRAINING_ONLY)}


class EfficientZeroNet(nn.Module):
    """The network h, g, f of MuZero with EfficientZero's value prefix and SimSiam projection."""

    def __init__(
        self,
        config: NetworkConfig,
        spec: EnvSpec,
        *,
        value_prefix: bool,
        projection: bool = False,
    ) -> None:
        """Build the network with torch's default initialisation, on the CPU.

        Args:
            config: sizes.
            spec: decides the trunk (images or vectors) and the number of actions.
            value_prefix: predict reward sums with an LSTM; off: each step's reward, and L is 0.
            projection: build SimSiam's projector and predictor, two thirds of all parameters; only
                a learner with a consistency loss has a use for them. All other parameters start
                from the same numbers with and without.
        """
        super().__init__()
        self.spec = spec
        self.lstm_hidden_size = config.lstm_hidden_size if value_prefix else 0
        self.support: ScalarSupport | ScalarRegression = (
            ScalarSupport(config.support_bound) if config.categorical_values else ScalarRegression()
        )
        """Turns what the heads answer into scalars."""
        is_conv = has_conv_trunk(config, spec)
        trunk = make_conv_trunk(config, spec) if is_conv else make_mlp_trunk(config, spec)
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
            policy_head=make_head(spec.num_actions),
        )
        self.root_prediction: nn.Module | None = None
        """Of encoded latents, where their running statistics are kept apart."""
        if is_conv and config.norm == "batch_by_call":
            self.root_prediction = with_own_statistics(self.prediction)
        if projection:
            self._add_projection(config)
        # Convolutions are quicker on channels-last weights, on CPU and GPU alike; the layout of
        # the weights carries over to all activations.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _add_projection(self, config: NetworkConfig) -> None:
        momentum = config.batch_norm_momentum
        self.projector = make_projector(
            math.prod(self.latent_shape),
            hidden_size=config.projector_hidden_size,
            out_size=config.projection_size,
            momentum=momentum,
        )
        self.predictor = make_predictor(
            config.projection_size, hidden_size=config.predictor_hidden_size, momentum=momentum
        )

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
        return InitialInference(latents, *predict(latents))

    def recurrent_inference(
        self, latents: Tensor, lstm_states: Tensor, actions: Tensor
    ) -> RecurrentInference:
        """Take one step with the model and predict from where it leads.

        Args:
            latents: f32 [B, *latent_shape].
            lstm_states: f32 [B, 2, L], h and c; see ``initial_lstm_states``.
            actions: i64 [B] in 0..A-1.
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
            next_latents, next_states, prefix_logits, *self.prediction(next_latents)
        )

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
        """Return all entries but projector's and predictor's: what actors and reanalyzers need.

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
