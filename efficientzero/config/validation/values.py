"""Which representations and bootstraps of values fit each other: called by ``validate``."""

from __future__ import annotations

from efficientzero.config.derived import (
    OFF_POLICY_TARGETS,
    has_action_values,
    has_local_targets,
    num_fresh_policies,
)
from efficientzero.config.fields import Config
from efficientzero.config.validation.ranges import require

_FEWEST_BINS = 2


def check_values(config: Config) -> None:
    """Refuse losses that no head has, and targets that the learner cannot make.

    Raises:
        ConfigError: one line with the field, what was got and what was wanted.
    """
    network, learner, reanalyzer = config.network, config.learner, config.reanalyzer
    bins, delta = network.support_bins, learner.huber_delta
    require(
        not bins or network.categorical_values,
        f"network.support_bins: got {bins} with network.categorical_values off, wanted 0: there "
        "are no categories",
    )
    require(
        not bins or bins >= _FEWEST_BINS,
        f"network.support_bins: got {bins}, wanted 0 or at least {_FEWEST_BINS}",
    )
    require(
        not delta or not network.categorical_values,
        f"learner.huber_delta: got {delta} with network.categorical_values on, wanted 0: the loss "
        "of categories is a cross-entropy",
    )
    _check_distribution(config)
    _check_noise(config)
    is_double = config.agent.double_q
    require(
        not is_double or config.agent.value_function == "action",
        "agent.double_q: got true with agent.value_function state, wanted false or action: there "
        "are no values of actions to choose by",
    )
    require(
        not is_double or has_local_targets(config),
        "agent.double_q: got true with learner.target_network reanalyzer, wanted false or local: "
        "only the learner has the newest weights",
    )
    if not has_local_targets(config):
        return
    require(
        reanalyzer.value_bootstrap == "network",
        f"learner.target_network: got local with reanalyzer.value_bootstrap "
        f"{reanalyzer.value_bootstrap}, wanted reanalyzer: the learner does not search",
    )
    require(
        reanalyzer.value_target == "td",
        f"learner.target_network: got local with reanalyzer.value_target "
        f"{reanalyzer.value_target}, wanted reanalyzer, or reanalyzer.value_target td: the learner "
        "completes td's targets alone",
    )
    is_published_for_use = num_fresh_policies(config, learner.batch_size) > 0 or (
        config.replay.priority_refresh_share > 0
    )
    require(
        not learner.average_decay or learner.average_for == "acting" or is_published_for_use,
        f"learner.average_for: got {learner.average_for} with learner.target_network local, wanted "
        "acting: reanalyzers search and value nothing, and the learner's copy is no average",
    )


def _check_distribution(config: Config) -> None:
    agent, replay = config.agent, config.replay
    if agent.value_distribution != "categorical":
        require(
            replay.priority != "kl",
            "replay.priority: got kl with agent.value_distribution two_hot, wanted value_error or "
            "categorical: there is no distribution of the return",
        )
        return
    wanted = "wanted two_hot"
    require(
        has_local_targets(config),
        "agent.value_distribution: got categorical with learner.target_network reanalyzer, "
        f"{wanted} or local: whole distributions are not sent",
    )
    require(
        config.network.categorical_values,
        "agent.value_distribution: got categorical with network.categorical_values off, "
        f"{wanted}: a single number has no distribution",
    )
    if replay.priority != "kl":
        return
    others = {
        "initial_priority": (replay.initial_priority, "max"),
        "priority_refresh_share": (replay.priority_refresh_share, 0),
    }
    for name, (got, needed) in others.items():
        require(
            got == needed,
            f"replay.{name}: got {got} with replay.priority kl, wanted {needed}: actors and "
            "reanalyzers find value errors, which are on another scale",
        )


def _check_noise(config: Config) -> None:
    """Refuse parts of a head that does not exist, and noise that a search would freeze."""
    network, search = config.network, config.search
    require(
        not network.dueling or has_action_values(config),
        "network.dueling: got true with agent.value_function state, wanted false or action: there "
        "is no head with action values",
    )
    if not network.noisy_heads:
        return
    require(
        config.agent.value_function == "action",
        "network.noisy_heads: got true with agent.value_function state, wanted false or action: "
        "actors would not play by the noisy values",
    )
    require(
        search.num_simulations == 0,
        f"network.noisy_heads: got true with search.num_simulations {search.num_simulations}, "
        "wanted false or 0: a search explores by itself, and all its nodes would share one noise",
    )
    require(
        search.inference_backend != "folded",
        "search.inference_backend: got folded with network.noisy_heads, wanted auto or eager: "
        "noise changes the weights at every call",
    )
    require(
        config.reanalyzer.value_target not in OFF_POLICY_TARGETS,
        f"network.noisy_heads: got true with reanalyzer.value_target "
        f"{config.reanalyzer.value_target}, wanted false: the probabilities of noisy actions are "
        "not known",
    )
