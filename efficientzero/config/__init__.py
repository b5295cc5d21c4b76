"""Every hyperparameter: fields, files, checks, and derived values."""

from efficientzero.config.agent_fields import AgentConfig, CompatConfig, NetworkConfig, SearchConfig
from efficientzero.config.compat import COMPAT_GROUPS, compat_group
from efficientzero.config.derived import (
    horizon_discounts,
    most_roots,
    num_fresh_policies,
    num_refreshed,
    planning_discount,
    staleness_bound,
)
from efficientzero.config.fields import Config
from efficientzero.config.files import (
    PRESETS,
    REMOVED_FIELDS,
    ConfigError,
    closest,
    config_from_dict,
    config_hash,
    config_to_dict,
    experiment_values,
    flatten,
    hyperparameters,
    load_preset,
    nearest,
    preset_of_env,
    whole,
)
from efficientzero.config.image_sizes import downsample_of, latent_size, trunk_of, with_downsample
from efficientzero.config.role_fields import (
    ActorConfig,
    LearnerConfig,
    ReanalyzerConfig,
    ReplayConfig,
)
from efficientzero.config.run_fields import (
    AtariConfig,
    BudgetConfig,
    ClusterConfig,
    EnvConfig,
    EnvKwargs,
    TrackingConfig,
)
from efficientzero.config.schedules import (
    age_per_td_step,
    importance_exponent,
    is_published,
    learning_rate,
    next_evaluation,
    temperature,
)
from efficientzero.config.validation import validate

__all__ = [
    "COMPAT_GROUPS",
    "PRESETS",
    "REMOVED_FIELDS",
    "ActorConfig",
    "AgentConfig",
    "AtariConfig",
    "BudgetConfig",
    "ClusterConfig",
    "CompatConfig",
    "Config",
    "ConfigError",
    "EnvConfig",
    "EnvKwargs",
    "LearnerConfig",
    "NetworkConfig",
    "ReanalyzerConfig",
    "ReplayConfig",
    "SearchConfig",
    "TrackingConfig",
    "age_per_td_step",
    "closest",
    "compat_group",
    "config_from_dict",
    "config_hash",
    "config_to_dict",
    "downsample_of",
    "experiment_values",
    "flatten",
    "horizon_discounts",
    "hyperparameters",
    "importance_exponent",
    "is_published",
    "latent_size",
    "learning_rate",
    "load_preset",
    "most_roots",
    "nearest",
    "next_evaluation",
    "num_fresh_policies",
    "num_refreshed",
    "planning_discount",
    "preset_of_env",
    "staleness_bound",
    "temperature",
    "trunk_of",
    "validate",
    "whole",
    "with_downsample",
]
