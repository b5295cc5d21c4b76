"""One rank of two, for ``test_ranks``: ``python -m tests.support.rank_worker CASE FOLDER RANK``.

Rank 0 makes two updates as the learner does and saves what came of them; rank 1 follows.
"""

import dataclasses
import sys
from pathlib import Path

import torch
from torch.utils._pytree import tree_map

from efficientzero.metrics.section_timer import SectionTimer
from learner.rank import follow
from learner.training.local_targets import local_targets
from learner.training.optimizers import make_optimizer
from learner.training.ranks import End, Idle, RankGroup
from learner.training.train_state import TrainState
from learner.training.update import Updater
from tests.support.cases.loss_cases import IMAGE, case, in_float32, make_batch, make_network

RATES = {"lr_warmup_fraction": 0.0, "learning_rate": 0.1}
CASES = {
    "sgd": case(learner=RATES),
    "lars": case(learner={**RATES, "optimizer": "lars"}),
    "no value loss": case(learner={**RATES, "value_coefficient": 0.0}),
    "spr": case(learner={**RATES, "consistency": "spr", "momentum_tau": 0.5}),
    "nce": case(learner={**RATES, "consistency": "nce"}),
    "reconstruction that ends": case(
        learner={**RATES, "reconstruction_coefficient": 1.0, "reconstruction_train_steps": 1}
    ),
    "no consistency": case(learner={**RATES, "consistency_coefficient": 0.0}),
    "action values without a model": case(
        agent={"num_unroll_steps": 0, "value_prefix": False, "value_function": "action"},
        learner={**RATES, "consistency_coefficient": 0.0},
    ),
    "local targets": case(learner={**RATES, "target_network": "local"}),
}
NUM_STEPS = 2


def batch_of(config, step):
    """Return a batch of 8, which two ranks share."""
    batch = in_float32(make_batch(config, IMAGE, size=8, seed=step))
    if config.learner.target_network != "local":
        return batch
    shape = batch.values.shape
    generator = torch.Generator().manual_seed(step)
    bootstraps = torch.randint(0, 256, (*shape, *IMAGE.observation_shape), generator=generator)
    return dataclasses.replace(
        batch,
        bootstrap_observations=bootstraps.to(torch.uint8),
        bootstrap_discounts=torch.full(shape, 0.9),
    )


def train(config, updater, network, share):
    """Make the updates; return numbers of each step and the weights and statistics at the end."""
    steps = []
    for step in range(NUM_STEPS):
        part = share(batch_of(config, step), step)
        update = updater.step(part, step, measure=True)
        result = updater.finish(update)
        fields = {f.name: getattr(update.terms, f.name) for f in dataclasses.fields(update.terms)}
        terms = tree_map(torch.Tensor.detach, fields)
        gradients = {n: p.grad for n, p in network.named_parameters() if p.grad is not None}
        steps.append(
            {
                "terms": terms,
                "gradients": {name: gradient.clone() for name, gradient in gradients.items()},
                "priorities": torch.from_numpy(result.priorities),
                "grad_norm": result.grad_norm,
            }
        )
    return {"steps": steps, "network": network.state_dict()}


def main(name: str, folder: Path, rank: int) -> None:
    torch.set_num_threads(1)
    config = CASES[name]
    group = RankGroup(folder / "meet", rank=rank, num_ranks=2, device=torch.device("cpu"))
    # The ranks start apart: what rank 0 has is what counts.
    network = make_network(config, IMAGE, seed=rank).float()
    if rank:
        follow(group, network, config)
        torch.save(network.state_dict(), folder / "follower.pt")
    else:
        optimizer = make_optimizer(network, config)
        targets = local_targets(network, config)
        timer = SectionTimer("learner")
        updater = Updater(network, optimizer, config, timer, ranks=group, targets=targets)
        TrainState(network, optimizer, targets=targets).broadcast(group)
        group.send_command(Idle())
        made = train(
            config, updater, network, lambda batch, step: group.share(batch, step, measure=True)
        )
        group.send_command(End())
        torch.save(made, folder / "leader.pt")
    group.close()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
