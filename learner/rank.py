"""Run a further rank of a learner: ``python -m learner.rank --config config.json --index 1``.

Started by launch.py together with the learner, which is rank 0 and leads. It communicates only with
rank 0, saves nothing and logs no metrics; it ends when rank 0 asks for it, and fails when rank 0 is
gone.
"""

from __future__ import annotations

import logging

from efficientzero.config import Config
from efficientzero.metrics import SectionTimer
from efficientzero.networks import EfficientZeroNet
from efficientzero.process.devices import setup_torch
from efficientzero.process.runtime import StopSignal, exit_now, run_role
from efficientzero.worker import RoleArguments, parse_server_line
from learner.training import (
    End,
    RankGroup,
    State,
    Step,
    TrainState,
    Updater,
    device_of_rank,
    local_targets,
    make_optimizer,
    meeting_point,
    seeded_network,
)

ROLE = "rank"

log = logging.getLogger(__name__)


def main(arguments: RoleArguments, stop: StopSignal) -> None:
    """Join the ranks and follow rank 0 until it ends training."""
    run, rank = arguments.run, arguments.index
    device = device_of_rank(setup_torch(run.config.cluster, "learner", rank), rank, run.config)
    group = RankGroup(
        meeting_point(run),
        rank=rank,
        num_ranks=run.config.learner.num_devices,
        device=device,
    )
    network = seeded_network(run).to(device).train()
    try:
        follow(group, network, run.config)
    except RuntimeError as error:
        if not stop.is_set():
            raise
        log.info("stopped while waiting for rank 0: %s", error)
        return
    group.close()


def follow(group: RankGroup, network: EfficientZeroNet, config: Config) -> None:
    """Follow rank 0's commands until it sends the end.

    Args:
        group: joined.
        network: built like rank 0's, in training mode, on this rank's device.
        config: the run's.
    """
    optimizer = make_optimizer(network, config)
    targets = local_targets(network, config)
    training = TrainState(network, optimizer, targets=targets)
    timer = SectionTimer("learner")
    updater = Updater(network, optimizer, config, timer, ranks=group, targets=targets)
    while not isinstance(command := group.receive_command(), End):
        if isinstance(command, State):
            training.follow(command)
        elif isinstance(command, Step):
            # Rank 0 checks the result.
            updater.step(group.receive(command), command.train_step, measure=command.measure)


if __name__ == "__main__":
    parsed = parse_server_line(ROLE, __doc__)
    exit_now(run_role(ROLE, parsed.index, lambda stop: main(parsed, stop)))
