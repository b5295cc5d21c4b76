"""Whatever callers say, in whatever order, the budget holds and nothing but a refusal is raised."""

from __future__ import annotations

import dataclasses
import math
from contextlib import nullcontext, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from efficientzero.config.fields import Config, EnvConfig
from efficientzero.schema import Phase
from learner.pacing.governor import Governor
from learner.records.run_record import EpisodeResult
from learner.services.claims import Claims
from tests.support.cases.governor_cases import make_config

HUGE = 2**63 - 1

runs = st.builds(
    make_config,
    env_steps=st.integers(1, 40),
    warmup=st.integers(0, 50),
    train_steps=st.integers(0, 60),
    last=st.integers(0, 3),
    slack=st.integers(0, 9),
    num_actors=st.integers(1, 3),
    num_envs=st.integers(1, 5),
    warmup_earns=st.booleans(),
)
counts = st.one_of(st.integers(-1, 6), st.sampled_from([10**15, HUGE, -HUGE - 1]))
indices = st.one_of(st.integers(0, 2), st.sampled_from([-1, HUGE]))
processes = st.one_of(st.integers(1, 3), st.sampled_from([0, HUGE]))


class Learner:
    """A governor, the one after it when it dies, and what it may have counted at most."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.governor = Governor(config)
        self.newest: dict[tuple[int, int], int] = {}  # newest good request of each process
        self.granted = self.believed = self.before = 0
        self.is_new = False

    def restart(self, lost_env_steps: int) -> None:
        """Go on from a checkpoint and a journal, which may lack the last env_steps."""
        governor = self.governor
        env_steps = max(0, governor.env_steps - lost_env_steps)
        # A checkpoint with all train_steps of a run comes with its env_steps.
        train_steps = governor.train_steps if env_steps == governor.env_steps else 0
        self.governor = Governor(self.config)
        self.governor.restore(env_steps=env_steps, train_steps=train_steps)
        self.newest, self.granted, self.before = {}, 0, env_steps
        self.is_new = True
        pace = self.governor.pace
        self.believed = max(pace.slack, pace.warmup_env_steps - env_steps)

    def call(self, index: int, process: int, request: int, completed: int, wanted: int) -> None:
        governor, known = self.governor, self.counts
        try:
            grant = governor.acquire_env_steps(
                index,
                incarnation=process,
                request=request,
                completed=completed,
                wanted=wanted,
                wait_s=0.0,
                given_up=lambda: False,
            )
        except ValueError:
            assert governor.env_steps == known[0], "a refused call counts nothing"
            assert governor.env_steps_granted <= known[1]
            return
        before = self.newest.get((index, process))
        self.newest[index, process] = request
        if before == request:
            assert self.counts == known, "a repeated request changes nothing"
            return
        assert before is None or request == before + 1, "one that comes late is not counted again"
        assert 0 <= grant.granted <= wanted
        self.granted += grant.granted

    def train(self) -> None:
        governor = self.governor
        if governor.may_train(governor.train_steps):
            governor.train_step_completed(governor.train_steps + 1)

    @property
    def counts(self) -> tuple[int, int]:
        return self.governor.env_steps, self.governor.env_steps_granted

    def check(self) -> None:
        governor = self.governor
        completed, granted = self.counts
        held = [actor.held for actor in governor._actors.by_index.values()]
        assert min(held, default=0) >= 0
        assert granted == completed + sum(held)
        assert 0 <= completed <= granted <= self.config.budget.env_steps
        assert completed - self.before <= self.granted + self.believed, "nobody played those"
        assert not governor._queue, "nobody waits here"


def good_call(learner: Learner, data: st.DataObject) -> tuple[int, int, int, int, int]:
    """Return what an actor of this learner says that plays by the rules, or nearly does."""
    index, process = data.draw(st.integers(0, 2)), data.draw(st.integers(1, 3))
    actor = learner.governor._actors.by_index.get(index)
    held = actor.held if actor is not None and actor.incarnation == process else 0
    request = learner.newest.get((index, process), 0) + data.draw(st.sampled_from([1, 1, 1, 0, -1]))
    turn = learner.config.most_envs
    more = data.draw(st.sampled_from([turn] if learner.is_new else [0, 0, 1]))
    return index, process, request, held + more, 4


def move(learner: Learner, data: st.DataObject) -> None:
    """Let something happen: a call by the rules or against them, a death, a train_step."""
    what = data.draw(
        st.sampled_from(["good", "good", "good", "bad", "forget", "train", "stuck", "restart"])
    )
    if what == "good":
        learner.call(*good_call(learner, data))
    elif what == "bad":
        learner.call(*map(data.draw, (indices, processes, counts, counts, counts)))
    elif what == "forget":
        learner.governor.forget(data.draw(indices), data.draw(processes))
    elif what == "train":
        learner.train()
    elif what == "stuck":
        learner.governor.collect_more_if_stuck()
    else:
        learner.restart(data.draw(st.integers(0, 3)))


@given(config=runs, data=st.data())
def test_no_sequence_of_calls_breaks_the_budget(config, data):
    learner = Learner(config)
    for _ in range(data.draw(st.integers(0, 50))):
        move(learner, data)
        learner.check()

    # After all that, actors that play by the rules still bring the run to its end.
    for index, actor in list(learner.governor._actors.by_index.items()):
        learner.governor.forget(index, actor.incarnation)  # as the roster does
    request = 0
    while learner.governor.phase is not Phase.FINISHED:
        before, request = (learner.counts, learner.governor.train_steps), request + 1
        for index in range(3):
            actor = learner.governor._actors.by_index.get(index)
            held = 0 if actor is None else actor.held
            learner.call(index, 1_000 + index, request, held, 4)
            learner.check()
        learner.train()
        assert (learner.counts, learner.governor.train_steps) != before, "nobody can go on"
    assert learner.governor.env_steps == config.budget.env_steps


numbers = st.one_of(
    st.floats(-9.0, 9.0), st.floats(), st.sampled_from([1e30, 1e31, math.nan, math.inf, -math.inf])
)
games = st.lists(st.builds(EpisodeResult, numbers, counts), max_size=3)


@given(config=runs, reports=st.lists(games, max_size=8), granted=st.integers(0, 40))
def test_no_reports_of_games_are_longer_than_what_was_granted(config, reports, granted):
    governor = Governor(config)
    claims = Claims(config, governor, holds=lambda *_: True)
    governor.acquire_env_steps(
        0,
        incarnation=1,
        request=1,
        completed=0,
        wanted=granted,
        wait_s=0.0,
        given_up=lambda: False,
    )
    recorded, total = 0, 0.0
    for episodes in reports:
        with suppress(ValueError):
            claims.check_training_episodes(episodes, recorded)
            recorded += sum(game.length for game in episodes)
            total += sum(game.episode_return for game in episodes)
    assert 0 <= recorded <= governor.env_steps_granted + governor.pace.slack
    assert math.isfinite(total)


@given(
    config=runs,
    episodes=games,
    version=counts,
    is_final=st.booleans(),
    published=st.integers(0, 70),
    phase=st.sampled_from(Phase),
)
def test_an_evaluation_that_is_believed_can_be(
    config, episodes, version, is_final, published, phase
):
    governor = Governor(config)
    claims = Claims(config, governor, holds=lambda *_: True)
    try:
        claims.check_evaluation(
            episodes,
            scores=[],
            weights_version=version,
            is_final=is_final,
            published=published,
            phase=phase,
        )
    except ValueError:
        return
    assert 0 <= version <= published
    assert not is_final or (phase is Phase.FINISHED and version == governor.pace.total_train_steps)
    assert all(game.length >= 1 and abs(game.episode_return) <= 1e30 for game in episodes)


@pytest.mark.parametrize(
    ("env", "game", "is_possible"),
    [
        (EnvConfig(id="Catch-v0"), (1.0, 9), True),
        (EnvConfig(id="Catch-v0"), (1.5, 9), False),
        (EnvConfig(id="CartPole-v1"), (9.0, 9), True),
        (EnvConfig(id="CartPole-v1"), (10.0, 9), False),
        (EnvConfig(id="CartPole-v1", action_repeat=2), (18.0, 9), True),
        (EnvConfig(id="ALE/Pong-v5"), (1e29, 9), True),
        (EnvConfig(id="ALE/Pong-v5"), (1e31, 9), False),
    ],
)
def test_a_game_is_worth_no_more_than_its_environment_gives(env, game, is_possible):
    config = dataclasses.replace(make_config(), env=env)
    governor = Governor(config)
    claims = Claims(config, governor, holds=lambda *_: True)
    refused = nullcontext() if is_possible else pytest.raises(ValueError, match="a return of at")
    with refused:
        claims.check_training_episodes([EpisodeResult(*game)], -game[1])
