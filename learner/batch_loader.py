"""From a training batch in host memory to the loss's input on the device.

Used by the learner's step. Stacking, augmentation and scaling happen on the device, so that only
uint8 frames travel.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from efficientzero.config import Config
from efficientzero.envs.frame_stack import stack_window
from efficientzero.schedules import importance_exponent
from efficientzero.schema import EnvSpec, TrainingBatch
from learner.augmentation import augment
from learner.loss import LossInput, importance_weights


class BatchLoader:
    """Moves, stacks and augments training batches."""

    def __init__(
        self, config: Config, spec: EnvSpec, device: torch.device, generator: torch.Generator
    ) -> None:
        """Keep the settings; ``generator`` draws the augmentation and lies on ``device``."""
        self._config, self._spec = config, spec
        self._device, self._generator = device, generator

    def load(self, batch: TrainingBatch, train_step: int) -> LossInput:
        """Return ``batch`` on the device.

        Args:
            batch: arrays of B slices.
            train_step: sets the importance exponent.
        """
        config = self._config
        num_stacked, steps = config.env.num_stacked_frames, config.agent.num_unroll_steps
        root, following = self._augmented(self._to_device(batch.frames))
        beta = importance_exponent(train_step, config.replay, config.budget)
        return LossInput(
            root_observations=stack_window(root, 0, num_stacked),
            next_observations=torch.stack(
                [stack_window(following, k, num_stacked) for k in range(steps)], 1
            ),
            actions=self._to_device(batch.actions),
            value_prefixes=self._to_device(batch.value_prefixes),
            values=self._to_device(batch.values),
            policies=self._to_device(batch.policies),
            mask=self._to_device(batch.action_mask).float(),
            importance_weights=importance_weights(
                torch.from_numpy(batch.probabilities), torch.from_numpy(batch.table_sizes), beta
            ).to(self._device),
        )

    def _augmented(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Return the root's window and that of the next K observations, augmented apart."""
        root, following = frames[:, : self._config.env.num_stacked_frames], frames[:, 1:]
        learner = self._config.learner
        if not (learner.augmentation and self._spec.is_image):
            return root, following
        pixels, scale, generator = learner.shift_pixels, learner.intensity_scale, self._generator
        return (
            augment(root, pixels=pixels, scale=scale, generator=generator),
            augment(following, pixels=pixels, scale=scale, generator=generator),
        )

    def _to_device(self, array: np.ndarray) -> Tensor:  # type: ignore[type-arg]  # any dtype
        tensor = torch.from_numpy(array)
        if self._device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self._device, non_blocking=True)
