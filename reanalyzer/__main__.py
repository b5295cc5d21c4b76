"""Run one reanalyzer: ``python -m reanalyzer --config runs/<id>/config.json --index 0``."""

from __future__ import annotations

from efficientzero.devices import setup_torch
from efficientzero.networks import EfficientZeroNet
from efficientzero.role_arguments import RoleArguments, parse_role_arguments
from efficientzero.rpc import weights_pb2
from efficientzero.rpc.weight_client import WeightClient
from efficientzero.run_tracking import run_tracker
from efficientzero.runtime import StopSignal, generator, leave, run_role
from efficientzero.search import BatchedSearch
from reanalyzer.reanalyzer import Reanalyzer
from reanalyzer.root_batch import root_batch_size
from replay.info import wait_until_ready
from replay.slice_sampler import SliceSampler
from replay.training_queue import TrainingQueueWriter

ROLE = "reanalyzer"
_REPLAY_START_S = 120.0


def main(arguments: RoleArguments, stop: StopSignal) -> None:
    """Build the reanalyzer's parts and run it."""
    run, index = arguments.run, arguments.index
    config, spec = run.config, run.env_spec
    device = setup_torch(config.cluster)
    network = (
        EfficientZeroNet(config.network, spec, value_prefix=config.agent.value_prefix)
        .to(device)
        .eval()
    )
    randomness = generator(config.seed, ROLE, index, arguments.incarnation)
    search = BatchedSearch(
        network,
        search=config.search,
        agent=config.agent,
        compat=config.compat,
        num_actions=spec.num_actions,
        batch_size=root_batch_size(config, network, device),
        device=device,
        generator=randomness.spawn(1)[0],
    )
    if not wait_until_ready(run.replay_address, stop, timeout_s=_REPLAY_START_S):
        return
    tracker = run_tracker(run, ROLE, index, arguments.incarnation)
    try:
        Reanalyzer(
            config,
            network=network,
            search=search,
            weights=WeightClient(
                run.learner_address,
                weights_pb2.TARGET,
                network.inference_state_dict(),
                stop,
            ),
            slices=SliceSampler(run.replay_address, spec, config, stop),
            batches=TrainingQueueWriter(run.replay_address, stop),
            device=device,
            tracker=tracker,
            generator=randomness,
            stop=stop,
        ).run()
    finally:
        tracker.close()


if __name__ == "__main__":
    parsed = parse_role_arguments(ROLE, __doc__)
    leave(run_role(ROLE, parsed.index, lambda stop: main(parsed, stop)))
