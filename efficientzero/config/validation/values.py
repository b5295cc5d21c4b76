"""Which representations and bootstraps of values fit each other: called by ``validate``."""

from __future__ import annotations

from efficientzero.config.derived import has_local_targets
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
        f"{reanalyzer.value_target}, wanted reanalyzer: the learner completes td's targets alone",
    )
