"""The network that a learner trains, built from the run's seed, and its cost.

Every rank of a learner builds the same one.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from efficientzero.config import Config, has_local_targets, most_roots
from efficientzero.networks import EfficientZeroNet, draw_noise, make_network
from efficientzero.process.runtime import seed_sequence
from efficientzero.runs.run_folder import RunInfo


def seeded_network(run: RunInfo) -> EfficientZeroNet:
    """Build the network to train from the run's seed, on the CPU."""
    seed = int(seed_sequence(run.config.seed, "learner", 0).generate_state(1)[0])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # torch's initialisers know only the global generator
        return make_network(run.config, run.env_spec, training=True)


def draw_training_noise(
    network: EfficientZeroNet, config: Config, train_step: int, *, is_frozen: bool = False
) -> None:
    """Draw the noise of a train_step for the noisy layers, the same on every rank.

    Args:
        network: the trained one, or the frozen one, whose noise is another.
        config: the run's.
        train_step: counted from 0.
        is_frozen: which of the two.
    """
    if config.network.noisy_heads:
        seeds = seed_sequence(config.seed, "learner", 0, 3 if is_frozen else 2, train_step)
        draw_noise(network, int(seeds.generate_state(1)[0]))


_BACKWARD = 2  # a backward pass is about two forward passes


class Cost(NamedTuple):
    """Floating-point operations of one train_step."""

    training: float
    searching: float  # by reanalyzers, for its targets

    def __str__(self) -> str:
        """Return both as text."""
        return f"{_flops(self.training)} to train and {_flops(self.searching)} to search"


def train_step_cost(network: EfficientZeroNet, config: Config) -> Cost:
    """Count the operations of a train_step with all its slices and searched roots.

    Calls the network with one observation each, in inference: its weights and statistics stay.
    """
    agent, learner, spec = config.agent, config.learner, network.spec
    was_training, device = network.training, next(network.parameters()).device
    latents = torch.zeros(1, *network.latent_shape, device=device)
    observations = torch.zeros(1, *spec.observation_shape, device=device)
    actions = torch.zeros(1, dtype=torch.int64, device=device)
    if spec.action_kind == "continuous":
        actions = torch.zeros(1, spec.action_size, device=device)
    network.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as initial:
        network.initial_inference(observations)
    with torch.no_grad(), FlopCounterMode(display=False) as recurrent:
        network.recurrent_inference(latents, network.initial_lstm_states(1), actions)
    step, target = recurrent.get_total_flops(), 0
    if learner.consistency_coefficient > 0:
        with torch.no_grad(), FlopCounterMode(display=False) as projection:
            network.project(latents, with_predictor=True)
        step += projection.get_total_flops()
        target = initial.get_total_flops() + projection.get_total_flops()  # a bound
        if learner.consistency == "nce":
            target *= 1 + _BACKWARD  # the others' targets have no gradient
    root = initial.get_total_flops()
    if learner.reconstruction_coefficient > 0:
        with torch.no_grad(), FlopCounterMode(display=False) as decoding:
            network.decoder(latents)
        root, step = root + decoding.get_total_flops(), step + decoding.get_total_flops()
    network.train(was_training)
    forward = root + agent.num_unroll_steps * step
    per_slice = (1 + _BACKWARD) * forward + agent.num_unroll_steps * target
    if has_local_targets(config):
        per_slice += (agent.num_unroll_steps + 1) * initial.get_total_flops()
    search = initial.get_total_flops() + config.reanalyzer_simulations * recurrent.get_total_flops()
    num_roots = most_roots(config) if most_roots(config) > 1 else 0
    return Cost(float(learner.batch_size * per_slice), float(num_roots * search))


def describe_network(network: EfficientZeroNet, config: Config) -> str:
    """Return the network's size and the cost of a train_step in one line."""
    parameters = sum(parameter.numel() for parameter in network.parameters())
    latent = "x".join(map(str, network.latent_shape))
    cost = train_step_cost(network, config)
    return f"latent {latent}, {parameters / 1e6:.2f} M parameters; a train_step takes {cost}"


def _flops(number: float) -> str:
    """Return a number of operations as text with a unit."""
    scale, unit = (1e12, "TFLOPs") if number >= 1e12 else (1e9, "GFLOPs")  # noqa: PLR2004
    return f"{number / scale:.3g} {unit}"
