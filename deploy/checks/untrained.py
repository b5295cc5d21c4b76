"""What a search of the run would plan with although no loss trains it: said before the start.

Such runs are studies, and not refused: a search then compares what is left.
"""

from __future__ import annotations

from efficientzero.config import Config


def search_notes(config: Config) -> list[tuple[str, str]]:
    """Return a line for each loss of weight 0 whose predictions the run's searches read."""
    searches = (
        config.search.num_simulations,
        config.reanalyzer_simulations,
        config.evaluator.simulations,
    )
    if not any(searches):
        return []
    learner = config.learner
    read = {
        "value_prefix_coefficient": (
            learner.value_prefix_coefficient,
            "rewards that nothing trains: they stay near 0, so that only values are compared",
        ),
        "value_coefficient": (
            learner.value_coefficient,
            "values that nothing trains: only rewards within its depth are compared",
        ),
    }
    if config.search.planning_horizon:  # the value head counts only with other_horizon_weight
        del read["value_coefficient"]
    return [
        ("search", f"WARNING learner.{name} is 0: the search plans with {what}")
        for name, (weight, what) in read.items()
        if not weight
    ]
