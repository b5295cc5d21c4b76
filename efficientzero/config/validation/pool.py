"""What a pool of past weights needs, and what it cannot have: called by ``two_players``."""

from __future__ import annotations

from efficientzero.config.fields import Config
from efficientzero.config.validation.ranges import require

_FEWEST_MEMBERS = 3
"""The first, the newest, and one between them that can go."""


def check_pool(config: Config) -> None:
    """Refuse settings of the pool that could do nothing, or that other settings exclude.

    Raises:
        ConfigError: one line with the field, what was got and what was wanted.
    """
    league, share = config.league, config.league.pool_share
    require(
        league.ladder_games % 2 == 0,
        f"league.ladder_games: got {league.ladder_games}, wanted an even number: half of the games "
        "in each seat",
    )
    require(
        league.has_pool or not league.ladder_games,
        f"league.ladder_games: got {league.ladder_games} with league.pool_share 0, wanted 0: there "
        "are no members",
    )
    require(
        league.has_pool or not league.baseline_share,
        f"league.baseline_share: got {league.baseline_share} with league.pool_share 0, wanted 0: "
        "it is a share of the pool's games",
    )
    if not league.has_pool:
        return
    every = config.learner.publish_interval
    require(
        league.snapshot_interval % every == 0,
        f"league.snapshot_interval: got {league.snapshot_interval}, wanted a multiple of "
        f"learner.publish_interval ({every}): a member is what is published then",
    )
    require(
        league.capacity >= _FEWEST_MEMBERS,
        f"league.capacity: got {league.capacity}, wanted at least {_FEWEST_MEMBERS}: the first and "
        "the newest member stay",
    )
    require(
        not config.cluster.deterministic,
        f"league.pool_share: got {share} with cluster.deterministic, wanted 0: whom the next game "
        "is against depends on timing",
    )
    require(
        config.actor.num_envs > 0,
        f"league.pool_share: got {share} with actor.num_envs 0, wanted a number of environments: "
        "timing knows no second search",
    )
