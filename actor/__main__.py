"""Run one actor: ``python -m actor --join HOST:PORT``, the address of a run's learner."""

from __future__ import annotations

import numpy as np
import torch

from actor.actor import Actor
from actor.env_count import env_count
from actor.matches.league_client import LeagueClient
from actor.matches.pool_play import PoolPlay
from efficientzero.envs import make_env_batch
from efficientzero.envs.games import make_turn_game
from efficientzero.envs.hang_watch import hang_in_words, watch_for_hangs
from efficientzero.networks import make_network
from efficientzero.process.devices import setup_torch
from efficientzero.process.runtime import StopSignal, exit_now, seed_sequence
from efficientzero.rpc.pinned_weights import PinnedWeights
from efficientzero.rpc.run_client import RunClient
from efficientzero.rpc.stubs import weights_pb2
from efficientzero.rpc.weight_client import WeightClient
from efficientzero.search import make_planner
from efficientzero.worker import Place, run_worker, tracked
from replay.info import wait_until_ready
from replay.relay import reached_through_relays
from replay.steps import EpisodeWriter

ROLE = "actor"
_REPLAY_START_S = 120.0
_POOL_STREAM = 3
"""After the actor's own seeds, 0 to 2."""


def main(place: Place, stop: StopSignal) -> None:
    """Build the actor's parts and run it."""
    run, index = reached_through_relays(place.run, stop), place.index
    config, spec = run.config, run.env_spec
    device = setup_torch(config.cluster, ROLE, index)
    env_seeds, search_seeds, action_seeds = seed_sequence(
        config.seed, ROLE, index, place.incarnation
    ).spawn(3)
    network = make_network(config, spec, training=False).to(device).eval()
    num_envs = env_count(config, spec, network, device)
    planner = make_planner(
        config,
        spec,
        network,
        batch_size=num_envs,
        device=device,
        generator=np.random.default_rng(search_seeds),
    )
    envs = make_env_batch(
        config,
        seeds=[int(seed) for seed in env_seeds.generate_state(num_envs)],
        purpose="training",
        expected=spec,
    )
    if not wait_until_ready(run.replay_address, stop, timeout_s=_REPLAY_START_S):
        return
    run_client = RunClient(run.learner_address, stop, member=place.member)
    weights = WeightClient(
        run.learner_address, weights_pb2.LATEST, network.inference_state_dict(), stop
    )
    try:
        with tracked(run, ROLE, index, place.incarnation, stop=stop) as tracker:
            actor = Actor(
                config,
                index=index,
                envs=envs,
                network=network,
                planner=planner,
                weights=PinnedWeights(weights, lambda: run_client.latest_train_step)
                if config.cluster.deterministic
                else weights,
                writers=[
                    EpisodeWriter(run.replay_address, spec, config, stop) for _ in range(num_envs)
                ],
                run_client=run_client,
                tracker=tracker,
                generator=np.random.default_rng(action_seeds),
                stop=stop,
                opponents=_opponents(place, run_client, num_envs, device, stop),
            )
            place.membership.follow(actor.pulse)
            actor.pulse.stuck_in = lambda: hang_in_words(envs.oldest_call)
            watch_for_hangs(envs.oldest_call, stop)
            actor.run()
    finally:
        envs.close()


def _opponents(
    place: Place, run_client: RunClient, num_envs: int, device: torch.device, stop: StopSignal
) -> PoolPlay | None:
    """Return who plays against the pool, with a second network; None of a run without a pool."""
    run, index = place.run, place.index
    config, spec = run.config, run.env_spec
    if not config.league.has_pool:
        return None
    search_seeds, draw_seeds = seed_sequence(
        config.seed, ROLE, index, place.incarnation, _POOL_STREAM
    ).spawn(2)
    network = make_network(config, spec, training=False).to(device).eval()
    planner = make_planner(
        config,
        spec,
        network,
        batch_size=config.league.num_pool_envs(num_envs),
        device=device,
        generator=np.random.default_rng(search_seeds),
    )
    return PoolPlay(
        config.league,
        num_envs,
        client=LeagueClient(run_client, run.learner_address, stop, role=ROLE, index=index),
        network=network,
        planner=planner,
        game=make_turn_game(config.env.id),
        generator=np.random.default_rng(draw_seeds),
    )


if __name__ == "__main__":
    exit_now(run_worker(ROLE, "actor", __doc__, main))
