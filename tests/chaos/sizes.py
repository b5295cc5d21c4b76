"""How large the runs are that faults are put into."""

from __future__ import annotations

from dataclasses import dataclass

from tests.integration.local_runs import TINY

EPISODE_LENGTH = 9
"""Of Catch-v0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A budget on Catch, and what follows from it."""

    options: tuple[str, ...]
    """Further ones of ``launch.py``."""
    env_steps: int
    train_steps: int
    last_train_steps: int
    checkpoint_interval: int
    num_envs: int = 8

    @property
    def in_flight(self) -> int:
        """Env_steps of all episodes that the actor is playing: what its death may cost."""
        return self.num_envs * EPISODE_LENGTH

    @property
    def since_snapshot(self) -> int:
        """Env_steps since the newest snapshot; twice the interval: one may be in the making."""
        return 2 * self.checkpoint_interval * self.env_steps // self.train_steps

    @property
    def launch_options(self) -> tuple[str, ...]:
        """All options of ``launch.py`` but seed and places."""
        return (
            *self.options,
            *("--budget.env-steps", str(self.env_steps), "--budget.warmup-env-steps", "100"),
            *("--budget.train-steps", str(self.train_steps)),
            *("--budget.last-train-steps", str(self.last_train_steps)),
            *("--learner.checkpoint-interval", str(self.checkpoint_interval)),
            *("--learner.checkpoints-kept", "3"),
            *("--actor.num-envs", str(self.num_envs)),
        )


SMALL = Size(
    options=(
        *TINY,
        *("--evaluator.interval-train-steps", "20", "--evaluator.num-episodes", "2"),
        *("--evaluator.final-num-episodes", "3"),
    ),
    env_steps=1_203,
    train_steps=240,
    last_train_steps=6,
    checkpoint_interval=20,
)
"""Over in half a minute, and too small to learn."""

LEARNING = Size(
    options=(
        *("--preset", "catch", "--tracking.mode", "offline"),
        *("--network.trunk", "auto", "--network.reduced-channels", "4"),
        *("--learner.log-interval", "20", "--cluster.metrics-interval-seconds", "1"),
        *("--evaluator.interval-train-steps", "50", "--evaluator.num-episodes", "2"),
        *("--evaluator.final-num-episodes", "100"),
    ),
    env_steps=3_003,
    train_steps=600,
    last_train_steps=20,
    checkpoint_interval=50,
)
"""A quarter of the preset's budget: much better than chance."""
