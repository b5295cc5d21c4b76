"""Environments behind one interface: build a batch, reset some, step some.

Actors and the evaluator call ``make_env_batch``; the launcher calls ``probe_env_spec`` once, before
anything starts. gymnasium and ale-py stop at this package: nobody else sees their types.
"""

from efficientzero.envs.batch import EnvBatch
from efficientzero.envs.factory import make_env_batch, probe_env_spec
from efficientzero.envs.frame_stack import FrameStack

__all__ = ["EnvBatch", "FrameStack", "make_env_batch", "probe_env_spec"]
