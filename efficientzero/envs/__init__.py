"""Environments behind one interface: build a batch, reset some, step some.

Actors and the evaluator call ``make_env_batch``; the launcher runs ``trial`` as a process before
anything starts. gymnasium and ale-py stop at this package: nobody else sees their types, and what
breaks its contract gets no further (``contract``).
"""

from efficientzero.envs.batch import EnvBatch, random_actions
from efficientzero.envs.errors import EnvError
from efficientzero.envs.factory import (
    UNLIMITED_EVALUATION_STEPS,
    make_env_batch,
    probe_env_spec,
)
from efficientzero.envs.frame_stack import FrameStack

__all__ = [
    "UNLIMITED_EVALUATION_STEPS",
    "EnvBatch",
    "EnvError",
    "FrameStack",
    "make_env_batch",
    "probe_env_spec",
    "random_actions",
]
