"""From a training batch in host memory to the loss's input on the device.

Used by the learner's step. Stacking, augmentation and scaling happen on the device, so that only
uint8 frames travel.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from efficientzero.config import Config
from efficientzero.schedules import importance_exponent
from efficientzero.schema import EnvSpec, TrainingBatch
from efficientzero.slices import stack_window
from learner.augmentation import Augmentation
from learner.loss import LossInput, importance_weights


class BatchLoader:
    """Moves, stacks and augments training batches."""

    def __init__(
        self,
        config: Config,
        spec: EnvSpec,
        device: torch.device,
        seeds: np.random.SeedSequence,
    ) -> None:
        """Keep the settings; all random numbers come from ``seeds``."""
        self._config, self._spec, self._device = config, spec, device
        self._needs_following = config.learner.consistency_coefficient > 0
        first, second, third, fourth = (int(n) for n in seeds.generate_state(4, np.uint64))
        self._augment_root = Augmentation(config.learner, (first, second), device)
        """Also of the whole window, where that is augmented at once."""
        self._augment_following = Augmentation(config.learner, (third, fourth), device)

    def load(self, batch: TrainingBatch, train_step: int) -> LossInput:
        """Return ``batch`` on the device; without next observations if nothing is compared to them.

        Args:
            batch: arrays of B slices.
            train_step: sets the importance exponent.
        """
        config = self._config
        num_stacked, steps = config.env.num_stacked_frames, config.agent.num_unroll_steps
        root, following = self._windows(batch)
        beta = importance_exponent(train_step, config.replay, config.budget)
        next_observations = None
        if following is not None:
            windows = [stack_window(following, k, num_stacked) for k in range(steps)]
            next_observations = torch.stack(windows, 1)
        return LossInput(
            root_observations=stack_window(root, 0, num_stacked),
            next_observations=next_observations,
            actions=self._to_device(batch.actions),
            value_prefixes=self._to_device(batch.value_prefixes),
            values=self._to_device(batch.values),
            policies=self._to_device(batch.policies),
            mask=self._to_device(batch.action_mask).float(),
            importance_weights=importance_weights(
                torch.from_numpy(batch.probabilities), torch.from_numpy(batch.table_sizes), beta
            ).to(self._device),
        )

    def state_dict(self) -> dict[str, Any]:
        """Return what the next draws depend on."""
        return {
            "root": self._augment_root.state_dict(),
            "following": self._augment_following.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on drawing from where ``state_dict`` was taken."""
        self._augment_root.load_state_dict(state["root"])
        self._augment_following.load_state_dict(state["following"])

    def _windows(self, batch: TrainingBatch) -> tuple[Tensor, Tensor | None]:
        """Return the frames of o[t] and those of o[t+1] .. o[t+K], augmented."""
        num_stacked = self._config.env.num_stacked_frames
        num_frames = batch.frames.shape[1] if self._needs_following else num_stacked
        frames = self._to_device(np.ascontiguousarray(batch.frames[:, :num_frames]))
        is_independent = self._config.learner.independent_augmentation
        if self._spec.is_image and not is_independent:
            frames = self._augment_root(frames)
        root = frames[:, :num_stacked]
        following = frames[:, 1:] if self._needs_following else None
        if self._spec.is_image and is_independent:
            root = self._augment_root(root)
            following = None if following is None else self._augment_following(following)
        return root, following

    def _to_device(self, array: np.ndarray) -> Tensor:  # type: ignore[type-arg]  # any dtype
        tensor = torch.from_numpy(array)
        if self._device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self._device, non_blocking=True)
