"""Small runs and the actors in them, for the tests of the governor."""

from __future__ import annotations

from efficientzero.config.fields import (
    ActorConfig,
    BudgetConfig,
    ClusterConfig,
    CompatConfig,
    Config,
)
from efficientzero.schema import Grant
from learner.pacing.governor import Governor


def make_config(
    *,
    env_steps=100,
    warmup=10,
    train_steps=100,
    last=0,
    slack=0,
    num_actors=1,
    num_envs=4,
    warmup_earns=False,
) -> Config:
    return Config(
        compat=CompatConfig(warmup_earns_train_steps=warmup_earns),
        budget=BudgetConfig(
            env_steps=env_steps,
            warmup_env_steps=warmup,
            train_steps=train_steps,
            last_train_steps=last,
            max_env_steps_ahead=slack,
        ),
        cluster=ClusterConfig(num_actors=num_actors),
        actor=ActorConfig(num_envs=num_envs),
    )


class Caller:
    """One actor process as the governor sees it."""

    def __init__(self, governor: Governor, index: int = 0, incarnation: int = 1) -> None:
        self.governor, self.index, self.incarnation = governor, index, incarnation
        self.request = 0
        self.held = 0

    def acquire(self, wanted: int, *, completed: int | None = None, wait_s: float = 0.0) -> Grant:
        """Report what is held (or ``completed``) as played and ask for more."""
        self.request += 1
        return self.repeat(wanted, completed=completed, wait_s=wait_s)

    def repeat(self, wanted: int, *, completed: int | None = None, wait_s: float = 0.0) -> Grant:
        """Send the newest request (again)."""
        played = self.held if completed is None else completed
        grant = self.governor.acquire_env_steps(
            self.index,
            incarnation=self.incarnation,
            request=self.request,
            completed=played,
            wanted=wanted,
            wait_s=wait_s,
            given_up=lambda: False,
        )
        self.held += grant.granted - played
        return grant
