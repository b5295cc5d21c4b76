"""Continuing from a checkpoint: restores every counter and tensor.

Called by ``learner.__main__`` before the learner serves clients.
"""

from __future__ import annotations

import logging

from efficientzero.process.runtime import PlainError
from efficientzero.runs.checkpoint import UnreadableCheckpoint, load_checkpoint, newest_checkpoint
from efficientzero.runs.lineage import PARENT_CHECKPOINT
from efficientzero.runs.run_folder import RunInfo
from learner.pacing import Governor
from learner.records import FairnessRecord, RunRecord
from learner.training import TrainState
from learner.weights import Members

log = logging.getLogger(__name__)


class CannotResume(PlainError):
    """The run's checkpoints do not match the run."""

    is_permanent = True


def resume(
    run: RunInfo,
    *,
    training: TrainState,
    governor: Governor,
    record: RunRecord,
    fairness: FairnessRecord,
    members: Members | None = None,
    steps_in_replay: int,
    steps_noted: int,
    steps_before: int = 0,
) -> None:
    """Restore the run's newest checkpoint into the parts; a new run stays as it is.

    Env_steps that reached replay after the checkpoint count: the learner will train on them.

    Args:
        run: whose folder holds the checkpoints.
        training: new; receives weights, optimiser and generators.
        governor: new; receives the counters.
        record: new; receives the results so far.
        fairness: new; receives the counts so far.
        members: new; receives those of the checkpoint, and removes files of all others. None: the
            run has no pool.
        steps_in_replay: env_steps ever inserted into replay, as restored.
        steps_noted: env_steps counted in this launch's journal.
        steps_before: env_steps counted in the previous launch's journal.

    Raises:
        CannotResume: the checkpoint belongs to another run, or all checkpoints are damaged.
    """
    try:
        state = newest_checkpoint(run.directory / "checkpoints")
    except UnreadableCheckpoint as error:
        raise CannotResume(str(error)) from error
    except ValueError as error:
        raise CannotResume(f"{error}; start a new run") from error
    budget = run.config.budget.env_steps
    _check_inherited(run, steps_in_replay)
    if state is None:
        if members is not None:
            members.restore(None, 0)
        env_steps, train_steps = min(budget, max(steps_in_replay, steps_noted)), 0
        if run.lineage is not None and run.lineage.weights_digest:
            train_steps = _take_parents_weights(run, training)
        if env_steps:
            governor.restore(env_steps=env_steps, train_steps=train_steps)
        return
    if state["config_hash"] != run.config_hash:
        raise CannotResume(
            f"checkpoint of train_step {state['train_step']}: config {state['config_hash']}, "
            f"wanted {run.config_hash}: it was written by a run with other hyperparameters"
        )
    train_steps = state["train_step"]
    env_steps = min(budget, max(state["env_steps"], steps_in_replay, steps_noted))
    governor.restore(env_steps=env_steps, train_steps=train_steps)
    record.restore(state["record"], env_steps=env_steps, train_steps=train_steps)
    fairness.restore(state["fairness"])
    if members is not None:
        members.restore(state["league"], train_steps)
    training.restore(state)
    log.info(
        "resumed at train_step %d with %d env_steps, of which replay holds %d",
        train_steps,
        env_steps,
        min(env_steps, steps_in_replay),
    )
    if steps_before > env_steps:
        undone = steps_before - env_steps
        log.info("%d env_steps that came after the checkpoint are undone and played again", undone)


def _check_inherited(run: RunInfo, steps_in_replay: int) -> None:
    """Raise if replay lacks inherited env_steps: a frozen run would wait for them forever."""
    inherited = run.lineage.env_steps if run.lineage else 0
    if steps_in_replay < inherited:
        raise CannotResume(
            f"replay: got {steps_in_replay} env_steps, wanted at least the {inherited} of the "
            f"snapshot taken from {run.lineage and run.lineage.parent}; it is damaged: fork again"
        )


def _take_parents_weights(run: RunInfo, training: TrainState) -> int:
    """Load the weights that the launcher put into the run folder; return their train_step."""
    try:
        state = load_checkpoint(run.directory / PARENT_CHECKPOINT)
    except UnreadableCheckpoint as error:
        raise CannotResume(str(error)) from error
    except ValueError as error:
        raise CannotResume(f"{error}; fork again") from error
    training.adopt(state)
    log.info("begun with another run's weights of train_step %d", training.train_step)
    return training.train_step
