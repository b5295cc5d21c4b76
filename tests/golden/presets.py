"""Write down what must not change of presets: hashes, groups, and networks as a seed makes them.

    python -m tests.golden.presets     writes tests/golden/presets.json again

The test is `tests/contract/test_golden_presets.py`. Write the file again only where a change of an
experiment is meant: older runs keep the hashes and groups that they have.
"""

import json
from pathlib import Path
from typing import Any

import torch

from deploy.launching.groups import run_group
from efficientzero.config.compat import COMPAT_GROUPS
from efficientzero.config.fields import Config
from efficientzero.config.files import config_from_dict, config_hash
from efficientzero.config.image_sizes import with_downsample
from efficientzero.config.preset_files import PRESETS, load_preset
from learner.training.network import seeded_network
from tests.support.fakes import tiny_run

FILE = Path(__file__).with_name("presets.json")

VARIATIONS: dict[str, dict[str, dict[str, Any]]] = {
    "no differences": {},
    "gumbel": {"search": {"algorithm": "gumbel", "num_simulations": 16}},
    "muzero": {
        "agent": {"value_prefix": False},
        "learner": {"consistency_coefficient": 0.0, "learning_rate": 0.00123},
        "reanalyzer": {"off_policy_correction": False},
    },
    "small": {"network": {"channels": 8, "norm": "layer"}, "budget": {"env_steps": 50_000}},
    "more actors": {"cluster": {"num_actors": 3, "num_reanalyzers": 2}},
    "too many to name": {
        "agent": {"discount": 0.9, "td_steps": 2, "num_unroll_steps": 3},
        "actor": {"num_envs": 3},
        "env": {"id": "CartPole-v1", "action_repeat": 2, "num_stacked_frames": 2},
        "learner": {"batch_size": 32, "momentum": 0.5, "weight_decay": 0.5, "publish_interval": 7},
        "network": {"support_bound": 7, "projection_size": 12, "mlp_hidden_size": 13},
        "replay": {"capacity": 12_345, "priority_exponent": 0.4},
        "search": {"num_simulations": 9, "root_dirichlet_alpha": 0.1},
        "tracking": {"group_suffix": "tried"},
    },
}
"""Differences from the default config."""


def values_of_preset(name: str) -> dict[str, Any]:
    """Return the hash, the group, and name -> [shape, first number] of each tensor of the network.

    ``sum`` is that of all numbers of the ``state_dict``.
    """
    run = tiny_run(Path(), load_preset(name))
    config = with_downsample(run.config, run.env_spec)  # as the launcher does: nothing to choose
    state = seeded_network(run).state_dict()
    return {
        "config_hash": config_hash(config),
        "group": run_group(config),
        "sum": sum(tensor.sum(dtype=torch.float64).item() for tensor in state.values()),
        "state_dict": {
            key: [list(tensor.shape), round(tensor.flatten()[0].item(), 7)]
            for key, tensor in state.items()
        },
    }


def names() -> dict[str, list[str]]:
    """Return the hash and the group of each variation and of each compat group."""
    configs = {name: config_from_dict(values) for name, values in VARIATIONS.items()}
    for name, group in COMPAT_GROUPS.items():
        configs[f"compat {name}"] = Config(compat=group)
    return {key: [config_hash(config), run_group(config)] for key, config in configs.items()}


def main() -> None:
    """Write the golden file, a line for each preset."""
    values = {"names": names()} | {name: values_of_preset(name) for name in PRESETS}
    lines = (f"{json.dumps(key)}: {json.dumps(value)}" for key, value in values.items())
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
