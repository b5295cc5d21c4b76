"""Several ranks on this machine, connected by torch: they share gradients, losses and commands."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils._pytree import tree_map

from efficientzero.config import Config, role_devices
from efficientzero.process.file_locks import has_locks
from efficientzero.process.process_seconds import ProcessSeconds, read_process
from efficientzero.process.runtime import PlainError
from efficientzero.runs.run_folder import RunInfo
from learner.training.losses import LossInput, LossTerms, loss_parts
from learner.training.ranks.commands import Command, Ranks, SingleDevice, Step
from learner.training.ranks.gathering import gathered_rows
from learner.training.ranks.synced_norms import with_synced_norms

_TIMEOUT_S = 300.0
"""Of one call. While rank 0 waits, it sends a command twice a second."""


def meeting_point(run: RunInfo) -> Path:
    """Return the file through which a launch's ranks find each other; torch locks it.

    In the run folder or, if its file system has no locks, in this machine's temporary folder.
    """
    name = f"ranks-{run.num_resumes}"
    if has_locks(run.directory):
        return run.directory / name
    return Path(tempfile.gettempdir()) / f"efficientzero-{run.run_uid}-{name}"


class RankGroup:
    """One of several ranks on this machine; all make the same calls in the same order."""

    def __init__(
        self, meeting_point: Path, *, rank: int, num_ranks: int, device: torch.device
    ) -> None:
        """Join the group; returns when all ranks have joined.

        Args:
            meeting_point: a file that does not exist yet, the same for all ranks; they listen on
                loopback only.
            rank: this process's, from 0.
            num_ranks: of the group.
            device: this rank's.

        Raises:
            RuntimeError: not all ranks joined within five minutes.
        """
        for library in ("GLOO", "NCCL"):
            os.environ.setdefault(f"{library}_SOCKET_IFNAME", "lo")
        self._device, self._rank, self._num_ranks = device, rank, num_ranks
        # Not as a URL, which would end at a "#" or "?" in the path.
        store = dist.FileStore(  # type: ignore[attr-defined]
            str(meeting_point.resolve()), num_ranks
        )
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
            store=store,
            rank=rank,
            world_size=num_ranks,
            timeout=timedelta(seconds=_TIMEOUT_S),
        )
        store.set(f"pid-{rank}", str(os.getpid()))
        others = [other for other in range(num_ranks) if other != rank]
        pids = [int(store.get(f"pid-{other}")) for other in others]
        self._others = ProcessSeconds(lambda: filter(None, map(read_process, pids)))

    def others_seconds(self) -> float:
        """Return the CPU-seconds that the other ranks' processes have used so far."""
        return self._others.read()

    def close(self) -> None:
        """Leave the group."""
        dist.destroy_process_group()

    def wrap(self, loss: nn.Module, network: nn.Module, config: Config) -> nn.Module:
        """Return the loss whose gradients are means over all ranks; give ``network`` synced norms.

        Args:
            loss: holds ``network``.
            network: on this rank's device; changed in place.
            config: decides whether some weights get no gradient.
        """
        with_synced_norms(network)
        has_idle_weights = (
            any(part.coefficient == 0 or part.decay_train_steps for part in loss_parts(config))
            or config.agent.value_function == "action"  # the value head has no loss
        )
        # Synced norms already keep the buffers equal.
        return DistributedDataParallel(
            loss, forward_sync_buffers=False, find_unused_parameters=has_idle_weights
        )

    def merge(self, terms: LossTerms, *, everything: bool) -> LossTerms:
        """Return the loss and the priorities of the whole batch on every rank.

        Args:
            terms: of this rank's part.
            everything: merge all other terms as well.
        """
        names = [field.name for field in dataclasses.fields(terms)]
        merged: dict[str, Any] = {
            name: tree_map(self._of_all_ranks, getattr(terms, name))
            for name in (names if everything else ("total", "priorities"))
        }
        return dataclasses.replace(terms, **merged)

    def gather(self, rows: Tensor) -> tuple[Tensor, int]:
        """Return the rows [B, ...] of all ranks, and where this rank's begin."""
        return gathered_rows(rows), self._rank * len(rows)

    def send_command(self, command: Command) -> None:
        """Send a command to the other ranks; called on rank 0."""
        # On the CPU: all ranks would unpickle CUDA tensors onto rank 0's device.
        sent = tree_map(lambda leaf: leaf.cpu() if isinstance(leaf, Tensor) else leaf, command)
        dist.broadcast_object_list([sent], src=0, device=torch.device("cpu"))

    def receive_command(self) -> Command:
        """Return the next command of rank 0; called on the other ranks."""
        received: list[Any] = [None]
        dist.broadcast_object_list(received, src=0, device=torch.device("cpu"))
        command: Command = received[0]
        return command

    def share(self, inputs: LossInput, train_step: int, *, measure: bool) -> LossInput:
        """Announce a train_step, give every rank its part of the batch, and return rank 0's."""
        tensors = {f.name: getattr(inputs, f.name) for f in dataclasses.fields(inputs)}
        parts = {
            name: [part.contiguous() for part in tensor.chunk(self._num_ranks)]
            for name, tensor in tensors.items()
            if tensor is not None
        }
        fields = {name: (tuple(part[0].shape), part[0].dtype) for name, part in parts.items()}
        self.send_command(Step(train_step, measure, fields))
        own: dict[str, Any] = dict.fromkeys(tensors)
        for name, part in parts.items():
            own[name] = torch.empty_like(part[0])
            dist.scatter(own[name], part, src=0)
        return LossInput(**own)

    def receive(self, step: Step) -> LossInput:
        """Return this rank's part of the batch; called on ranks other than 0."""
        own: dict[str, Any] = {f.name: None for f in dataclasses.fields(LossInput)}
        for name, (shape, dtype) in step.fields.items():
            part = own[name] = torch.empty(shape, dtype=dtype, device=self._device)
            dist.scatter(part, src=0)
        return LossInput(**own)

    def _of_all_ranks(self, tensor: Tensor) -> Tensor:
        """Return the mean of numbers [], or the rows [B, ...] of all, without gradient."""
        if tensor.ndim == 0:
            total = tensor.detach().clone()
            dist.all_reduce(total)
            return total / self._num_ranks
        return gathered_rows(tensor.detach())


def device_of_rank(device: torch.device, rank: int, config: Config) -> torch.device:
    """Return the device of a rank: CUDA devices are assigned in order, unless they were named.

    Args:
        device: of ``setup_torch`` for this rank.
        rank: from 0.
        config: the run's.

    Raises:
        TooFewDevices: there is none left for it.
    """
    if device.type != "cuda" or config.learner.num_devices == 1:
        return device
    if len(role_devices(config.cluster, "learner")) > 1:
        return device
    there = torch.cuda.device_count()
    if config.learner.num_devices > there:
        wanted = f"learner.num_devices: got {config.learner.num_devices}, wanted at most {there}"
        raise TooFewDevices(f"{wanted}: torch finds no more CUDA devices")
    own = torch.device("cuda", rank)
    torch.cuda.set_device(own)
    return own


class TooFewDevices(PlainError):
    """The config asks for more devices than the machine has."""

    is_permanent = True


def join_ranks(run: RunInfo, device: torch.device) -> Ranks:
    """Join the processes on the other devices as rank 0, if there are any."""
    num_ranks = run.config.learner.num_devices
    if num_ranks == 1:
        return SingleDevice()
    return RankGroup(meeting_point(run), rank=0, num_ranks=num_ranks, device=device)
