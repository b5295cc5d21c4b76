"""Turns a training batch in host memory into the loss's input on the device.

The feeder's thread sends the batch, the learner's step does the rest. Stacking, augmentation and
scaling happen on the device, so that only uint8 frames are transferred.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from efficientzero.config import Config, has_local_targets, importance_exponent
from efficientzero.schema import EnvSpec
from learner.batches.augmentation import Augmentation
from learner.training.losses import LossInput, importance_weights, loss_parts
from replay.format import BATCH_FIELDS, TrainingBatch, stack_window

_SENT = tuple(name for name, field in BATCH_FIELDS.items() if field.is_sent)
_AS_SENT = tuple(
    field.name
    for field in dataclasses.fields(LossInput)
    if field.name in _SENT and field.default is dataclasses.MISSING
)
"""Fields that the loss uses unchanged."""
_CONTINUOUS = ("continuous_actions", "policy_actions", "best_actions")
"""Fields that only runs with continuous actions have."""


class SentBatch(NamedTuple):
    """A training batch on the device, or in transfer to it, not yet augmented."""

    fields: Mapping[str, Tensor]
    """The fields that ``BATCH_FIELDS`` marks as sent; ``frames`` only as [B, S, *frame] if neither
    a loss part nor the targets use the rest."""
    arrival: torch.cuda.Event | None
    """None: the transfer is complete."""


class BatchLoader:
    """Moves, stacks and augments training batches."""

    def __init__(
        self,
        config: Config,
        spec: EnvSpec,
        device: torch.device,
        seeds: np.random.SeedSequence,
    ) -> None:
        """Store the settings; all random numbers come from ``seeds``."""
        self._config, self._spec, self._device = config, spec, device
        self._needs_following = any(part.needs_next_observations for part in loss_parts(config))
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        first, second, third, fourth = (int(n) for n in seeds.generate_state(4, np.uint64))
        self._augment_root = Augmentation(config.learner, (first, second), device)
        """Also used for the whole window, where that is augmented at once."""
        self._augment_following = Augmentation(config.learner, (third, fourth), device)

    def send(self, batch: TrainingBatch) -> SentBatch:
        """Send ``batch`` to the device, concurrently with its work; call from one thread.

        On a CPU the tensors share the batch's memory.
        """
        if not self._needs_following and not has_local_targets(self._config):
            frames = batch.frames[:, : self._config.env.num_stacked_frames]
            batch = batch._replace(frames=np.ascontiguousarray(frames))
        arrival = None
        stream = self._stream
        with contextlib.nullcontext() if stream is None else torch.cuda.stream(stream):
            tensors = {name: self._to_device(getattr(batch, name)) for name in _SENT}
            if stream is not None:
                arrival = torch.cuda.Event()  # type: ignore[no-untyped-call]
                arrival.record(stream)
        return SentBatch(tensors, arrival)

    def load(self, sent: SentBatch, train_step: int) -> LossInput:
        """Return the loss's input; without next observations if no loss uses them.

        Args:
            sent: as ``send`` returned it.
            train_step: sets the importance exponent.
        """
        self._await_arrival(sent)
        config = self._config
        num_stacked = config.env.num_stacked_frames
        frames = sent.fields["frames"]
        bootstraps: dict[str, Tensor] = {}
        if has_local_targets(config):
            offsets = sent.fields["bootstrap_offsets"]
            bootstraps = {
                "bootstrap_observations": _observations_at(offsets, frames, num_stacked),
                "bootstrap_discounts": sent.fields["bootstrap_discounts"],
            }
            if sent.fields["bootstrap_legal_actions"].shape[2]:
                bootstraps["bootstrap_legal_actions"] = sent.fields["bootstrap_legal_actions"]
            num_used = num_stacked + config.agent.num_unroll_steps * self._needs_following
            frames = frames[:, :num_used]
        root, following = self._windows(frames)
        beta = importance_exponent(train_step, config.replay, config.budget)
        next_observations = None
        if following is not None:
            windows = following.unfold(1, num_stacked, 1).movedim(
                -1, 2
            )  # [B, K, S, *frame], a view
            next_observations = windows.flatten(2, 3)  # the only copy
        return LossInput(
            root_observations=stack_window(root, 0, num_stacked),
            next_observations=next_observations,
            mask=sent.fields["action_mask"].float(),
            importance_weights=importance_weights(
                sent.fields["probabilities"], sent.fields["table_sizes"], beta
            ),
            auxiliary_values=(
                sent.fields["auxiliary_values"] if config.agent.auxiliary_discounts else None
            ),
            action_value_targets=(
                sent.fields["action_value_targets"]
                if config.learner.action_value_coefficient
                else None
            ),
            **bootstraps,
            **{name: sent.fields[name] for name in _CONTINUOUS if self._spec.action_size},
            **{name: sent.fields[name] for name in _AS_SENT},
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the random generators."""
        return {
            "root": self._augment_root.state_dict(),
            "following": self._augment_following.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue drawing from the state of ``state_dict``."""
        self._augment_root.load_state_dict(state["root"])
        self._augment_following.load_state_dict(state["following"])

    def _windows(self, frames: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the frames of o[t] and those of o[t+1] .. o[t+K], augmented."""
        num_stacked = self._config.env.num_stacked_frames
        is_independent = self._config.learner.independent_augmentation
        if self._spec.is_image and not is_independent:
            frames = self._augment_root(frames)
        root = frames[:, :num_stacked]
        following = frames[:, 1:] if self._needs_following else None
        if self._spec.is_image and is_independent:
            root = self._augment_root(root)
            following = None if following is None else self._augment_following(following)
        return root, following

    def _to_device(self, array: NDArray[Any]) -> Tensor:
        tensor = torch.from_numpy(array)
        if self._stream is not None:
            tensor = tensor.pin_memory()  # no-op for frames made by ``new_array``
        return tensor.to(self._device, non_blocking=True)

    def _await_arrival(self, sent: SentBatch) -> None:
        """Make the device, not the host, wait for the copies."""
        if sent.arrival is None:
            return
        stream = torch.cuda.current_stream(self._device)
        stream.wait_event(sent.arrival)
        for tensor in sent.fields.values():
            # Made on the other stream: its memory must not be used again before this one is done.
            tensor.record_stream(stream)


def _observations_at(offsets: Tensor, frames: Tensor, num_stacked_frames: int) -> Tensor:
    """Return o[t + offset] of offsets i32 [B, L], not augmented: [B, L, *observation].

    Args:
        offsets: from o[t].
        frames: [B, S + W, *frame].
        num_stacked_frames: S.
    """
    windows = frames.unfold(1, num_stacked_frames, 1).movedim(
        -1, 2
    )  # [B, W + 1, S, *frame], a view
    rows = torch.arange(len(offsets), device=offsets.device)[:, None]
    return windows[rows, offsets.long()].flatten(2, 3)


def pinned_array(shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """Return an array in page-locked memory, so that copies to the device are asynchronous.

    torch keeps freed blocks and reuses them once the copies from them are done.
    """
    wanted = np.dtype(dtype)
    num_bytes = math.prod(shape) * wanted.itemsize
    raw = torch.empty(max(1, num_bytes), dtype=torch.uint8, pin_memory=True).numpy()
    array: NDArray[Any] = raw[:num_bytes].view(wanted).reshape(shape)
    return array
