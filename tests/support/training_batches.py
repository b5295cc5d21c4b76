"""Training batches as reanalyzers make them, for tests of the learner."""

from __future__ import annotations

import numpy as np

from efficientzero.config.derived import num_refreshed
from efficientzero.config.fields import Config
from efficientzero.envs import probe_env_spec
from efficientzero.schema import TrainingBatch
from tests.support.fakes import check_training_batch


def training_batch(config: Config, seed: int = 0) -> TrainingBatch:
    """Return a random batch; some slices end inside the unroll."""
    rng, spec = np.random.default_rng(seed), probe_env_spec(config.env)
    size, steps = config.learner.batch_size, config.agent.num_unroll_steps
    shape = (size, spec.num_stacked_frames + steps, *spec.frame_shape)
    exists = np.arange(steps + 1) < rng.integers(1, steps + 3, size)[:, None]
    policies = rng.dirichlet(np.ones(spec.num_actions), (size, steps + 1)).astype(np.float32)
    batch = TrainingBatch(
        frames=rng.integers(0, 256, shape).astype(spec.frame_dtype),
        actions=rng.integers(0, spec.num_actions, (size, steps)),
        value_prefixes=rng.normal(size=(size, steps)).astype(np.float32),
        values=rng.normal(size=(size, steps + 1)).astype(np.float32),
        policies=policies * exists[:, :, None],
        action_mask=exists[:, :steps],
        keys=rng.integers(0, 2**64, size, dtype=np.uint64),
        probabilities=rng.uniform(0.001, 0.1, size),
        table_sizes=np.full(size, 100, np.int64),
        weights_versions=np.zeros(size, np.int64),
        target_weights_versions=np.zeros(size, np.int64),
        env_steps=rng.integers(0, config.budget.env_steps, size),
        refreshed_steps=rng.integers(-1, config.budget.env_steps, num_refreshed(config)),
        refreshed_priorities=rng.uniform(0.0, 2.0, num_refreshed(config)),
    )
    check_training_batch(batch, spec, config)
    return batch
