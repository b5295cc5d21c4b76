"""Training batches as reanalyzers make them, for tests of the learner."""

from __future__ import annotations

import numpy as np

from efficientzero.config.derived import has_local_targets
from efficientzero.config.fields import Config
from efficientzero.envs import probe_env_spec
from replay.format import TrainingBatch, batch_spec
from tests.support.fakes import check_training_batch


def training_batch(config: Config, seed: int = 0) -> TrainingBatch:
    """Return a random batch; some slices end inside the unroll. What is not named is zero."""
    rng, spec = np.random.default_rng(seed), probe_env_spec(config.env)
    size, steps = config.learner.batch_size, config.agent.num_unroll_steps
    wanted = batch_spec(spec, config).items()
    zeros = TrainingBatch(**{name: np.zeros(shape, dtype) for name, (dtype, shape) in wanted})
    exists = np.arange(steps + 1) < rng.integers(1, steps + 3, size)[:, None]
    policies = rng.dirichlet(np.ones(spec.num_actions), (size, steps + 1)).astype(np.float32)
    batch = zeros._replace(
        frames=rng.integers(0, 256, zeros.frames.shape).astype(spec.frame_dtype),
        actions=rng.integers(0, spec.num_actions, zeros.actions.shape),
        value_prefixes=rng.normal(size=(size, steps)).astype(np.float32),
        values=rng.normal(size=(size, steps + 1)).astype(np.float32),
        policies=policies * exists[:, :, None],
        action_mask=exists[:, : zeros.actions.shape[1]],
        keys=rng.integers(0, 2**64, size, dtype=np.uint64),
        probabilities=rng.uniform(0.001, 0.1, size),
        table_sizes=np.full(size, 100, np.int64),
        env_steps=rng.integers(0, config.budget.env_steps, size),
        refreshed_steps=rng.integers(-1, config.budget.env_steps, len(zeros.refreshed_steps)),
        refreshed_priorities=rng.uniform(0.0, 2.0, len(zeros.refreshed_steps)),
    )
    if has_local_targets(config):
        shape, agent = batch.bootstrap_offsets.shape, config.agent
        offsets = rng.integers(0, steps + agent.td_steps + 1, shape).astype(np.int32)
        discounts = np.where(rng.random(shape) < 0.8, agent.discount**agent.td_steps, 0.0)
        batch = batch._replace(
            bootstrap_offsets=offsets, bootstrap_discounts=discounts.astype(np.float32)
        )
    check_training_batch(batch, spec, config)
    return batch
