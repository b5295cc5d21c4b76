"""Publishes the learner's weights at intervals: the newest, their average, or older ones.

Used by the learner's loop. Actors and the evaluator get ``latest``, reanalyzers ``target``.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from efficientzero.config import Config, is_published
from efficientzero.rpc.stubs import weights_pb2
from learner.weights.members import Members
from learner.weights.publications import Publications
from learner.weights.publisher import PublishedTarget, WeightPublisher
from learner.weights.target_lag import TargetLag
from learner.weights.weight_average import WeightAverage

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_LATEST, _TARGET = weights_pb2.LATEST, weights_pb2.TARGET


class Publishing:
    """Publishes a network's weights during training; use from one thread."""

    def __init__(
        self,
        live: Mapping[str, Tensor],
        config: Config,
        publisher: WeightPublisher,
        members: Members | None = None,
    ) -> None:
        """Publish ``live``, tensors that training updates in place, through ``publisher``.

        ``members`` of the pool get some of the acting weights; None: there is no pool.
        """
        learner = self._learner = config.learner
        self._is_waited_for = config.cluster.deterministic
        self._members = members
        self._publications = Publications(
            publisher, dtype=_DTYPES[learner.weights_dtype], members=members
        )
        self.target_lag = TargetLag(config.compat.target_weights_lag)
        """Weights that wait to be published as targets."""
        self._average = (
            WeightAverage(live, learner.average_decay) if learner.average_decay else None
        )
        averaged = live if self._average is None else self._average.weights
        self.copies: dict[str, WeightAverage | PublishedTarget] = {
            **({} if self._average is None else {"weight_average": self._average}),
            "target_weights": PublishedTarget(publisher),
        }
        """What is made of the weights, by its name in a checkpoint."""
        self._sources = {
            _LATEST: averaged if learner.average_for != "targets" else live,
            _TARGET: averaged if learner.average_for != "acting" else live,
        }

    def train_step_made(self, train_step: int) -> None:
        """Take the weights of one more train_step, and publish if it is due."""
        if self._average is not None:
            self._average.update()
        kinds = [_LATEST] if is_published(train_step, self._learner) else []
        if train_step % self._learner.target_interval == 0:
            due = self.target_lag.exchange(self._sources[_TARGET], train_step)
            if due is not None and due.train_step == train_step:
                kinds.append(_TARGET)
            elif due is not None:
                self._publications.publish([_TARGET], due.state, due.train_step)
        self.publish(*kinds, train_step=train_step)
        if self._is_waited_for:
            self._publications.wait()

    def publish(self, *kinds: weights_pb2.WeightsKind, train_step: int) -> None:
        """Publish the current weights as ``kinds``, encoded once if they are the same."""
        if len({id(self._sources[kind]) for kind in kinds}) == 1:
            self._publications.publish(kinds, self._sources[kinds[0]], train_step)
            return
        for kind in kinds:
            self._publications.publish([kind], self._sources[kind], train_step)

    def wait(self) -> None:
        """Wait until all pending publications are done; raise the error of a failed one."""
        self._publications.wait()

    def check(self) -> None:
        """Raise the error of a failed publication, if there is one; never waits."""
        self._publications.check()

    def row(self) -> dict[str, float]:
        """Return metrics; waits for the device."""
        row = {} if self._members is None else self._members.league.row()
        if self._average is not None:
            row["learner/weight_average_distance"] = self._average.distance()
        return row
