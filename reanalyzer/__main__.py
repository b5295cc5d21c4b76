"""Run one reanalyzer: ``python -m reanalyzer --config runs/<id>/config.json --index 0``."""

from __future__ import annotations

import dataclasses

import numpy as np

from efficientzero.config import num_refreshed
from efficientzero.networks import make_network
from efficientzero.process.devices import setup_torch
from efficientzero.process.runtime import StopSignal, exit_now, generator
from efficientzero.rpc.pinned_weights import PinnedWeights
from efficientzero.rpc.run_client import RunClient
from efficientzero.rpc.stubs import weights_pb2
from efficientzero.rpc.weight_client import WeightClient, WeightSource
from efficientzero.worker import Place, run_worker, tracked
from reanalyzer.priority_refresh import SliceSource
from reanalyzer.reanalyzer import Reanalyzer
from reanalyzer.root_batch import reanalysis_search
from reanalyzer.turns import BatchTurns
from replay.info import wait_until_ready
from replay.relay import reached_through_relays
from replay.steps import OrderedSampler, SliceSampler
from replay.tables import STORED_STEPS
from replay.training_queue import TrainingQueueWriter

ROLE = "reanalyzer"
_REPLAY_START_S = 120.0


def main(place: Place, stop: StopSignal) -> None:
    """Build the reanalyzer's parts and run it."""
    place = dataclasses.replace(place, run=reached_through_relays(place.run, stop))
    run, index = place.run, place.index
    config, spec = run.config, run.env_spec
    device = setup_torch(config.cluster, ROLE, index)
    network = make_network(config, spec, training=False).to(device).eval()
    randomness = generator(config.seed, ROLE, index, place.incarnation)
    search_randomness, sampling_randomness = randomness.spawn(2)
    search = reanalysis_search(config, spec, network, device, search_randomness)
    if not wait_until_ready(run.replay_address, stop, timeout_s=_REPLAY_START_S):
        return
    client = WeightClient(
        run.learner_address, weights_pb2.TARGET, network.inference_state_dict(), stop
    )
    weights, slices, stored = _sources(place, client, sampling_randomness, stop)
    with tracked(run, ROLE, index, place.incarnation, stop=stop) as tracker:
        reanalyzer = Reanalyzer(
            config,
            network=network,
            search=search,
            weights=weights,
            slices=slices,
            batches=TrainingQueueWriter(run.replay_address, stop),
            tracker=tracker,
            generator=randomness,
            stop=stop,
            stored=stored,
        )
        place.membership.follow(reanalyzer.pulse)
        reanalyzer.run()


def _sources(
    place: Place, client: WeightClient, randomness: np.random.Generator, stop: StopSignal
) -> tuple[WeightSource, SliceSource, SliceSource | None]:
    """Return weights client and sampler: asynchronous, or in lock step in a deterministic run.

    The third: uniform samples, if priorities are refreshed.
    """
    run = place.run
    address, spec, config = run.replay_address, run.env_spec, run.config
    if not config.cluster.deterministic:
        by_priority = SliceSampler(address, spec, config, stop)
        num = num_refreshed(config)
        if not num:
            return client, by_priority, None
        uniform = SliceSampler(
            address, spec, config, stop, table=STORED_STEPS, num_slices_ahead=num
        )
        return client, by_priority, uniform
    sampler = OrderedSampler(address, spec, config, stop, generator=randomness)
    run_client = RunClient(run.learner_address, stop, member=place.member, index=place.index)
    turns = BatchTurns(run_client, sampler, stop)
    return PinnedWeights(client, turns.next_target), sampler, None


if __name__ == "__main__":
    exit_now(run_worker(ROLE, "reanalyzer", __doc__, main))
