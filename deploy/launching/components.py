"""The components that an ablation takes away, by the names that papers use."""

from __future__ import annotations

from typing import Any

COMPONENTS: dict[str, dict[str, Any]] = {
    "consistency": {"learner.consistency_coefficient": 0.0},
    "value_prefix": {"agent.value_prefix": False},
    "off_policy": {"reanalyzer.off_policy_correction": False},
    "mixed_value": {"reanalyzer.value_target": "td"},
    "reanalyze": {"reanalyzer.policy_reanalyze_ratio": 0.0},
    "priority": {"replay.priority_exponent": 0.0},
    "max_priority": {"replay.initial_priority": "value_error"},
    "importance_weights": {
        "replay.importance_exponent": 0.0,
        "replay.importance_exponent_final": 0.0,
    },
    "augmentation": {"learner.augmentation": False},
    "root_noise": {"search.root_exploration_fraction": 0.0},
    "temperature_decay": {"actor.temperatures": [1.0], "actor.temperature_fractions": []},
    "q_normalization": {"search.normalize_q": False},
    "categorical": {"network.categorical_values": False},
    "zero_init": {"network.zero_init_heads": False},
    "reward_clipping": {"env.clip_rewards": False},
    "lr_warmup": {"learner.lr_warmup_fraction": 0.0},
}
"""Name -> the fields that take the component away, with their values."""
