"""The governor's answers against hand-computed counts."""

from __future__ import annotations

import threading
import time

import pytest

from efficientzero.process.runtime import StopSignal
from efficientzero.schema import Grant, Phase
from learner.pacing.governor import Governor
from tests.support.cases.governor_cases import Caller, make_config


def test_warmup_is_free_and_its_env_steps_are_counted_exactly():
    governor = Governor(make_config(env_steps=100, warmup=10))
    caller = Caller(governor)
    grants = [caller.acquire(4) for _ in range(4)]
    assert [g.granted for g in grants] == [4, 4, 2, 4]  # never across the end of warm-up
    assert [g.phase for g in grants] == [Phase.WARMUP] * 3 + [Phase.COLLECTING]
    assert governor.env_steps == 10


def test_training_starts_one_env_step_after_warmup_and_follows_the_ratio():
    # Ratio 1/2: env_step W + 1 pays for train_step 0, W + 3 for train_step 1.
    governor = Governor(make_config(env_steps=110, warmup=10, train_steps=50, slack=8))
    caller = Caller(governor)
    caller.acquire(10)
    allowed = []
    for _ in range(5):
        caller.acquire(1)
        allowed.append([governor.may_train(s) for s in range(3)])
    assert [sum(row) for row in allowed] == [0, 1, 1, 2, 2]


def test_collection_stops_at_its_slack_until_training_pays():
    governor = Governor(make_config(env_steps=110, warmup=10, train_steps=50, slack=4))
    caller = Caller(governor)
    assert [caller.acquire(10).granted, caller.acquire(4).granted] == [10, 4]
    assert caller.acquire(4).granted == 0
    governor.train_step_completed(1)  # pays two env_steps
    assert caller.acquire(4).granted == 2  # at its deadline: what there is
    governor.train_step_completed(2)
    governor.train_step_completed(3)
    assert caller.acquire(4).granted == 4


def test_collection_gets_further_ahead_only_if_actors_wait_and_nobody_plays():
    governor = Governor(make_config(env_steps=110, warmup=10, train_steps=50, slack=4))
    caller = Caller(governor)
    assert [caller.acquire(10).granted, caller.acquire(4).granted] == [10, 4]
    assert not governor.collect_more_if_stuck()  # four env_steps are being played
    grants = []
    waiting = threading.Thread(target=lambda: grants.append(caller.acquire(4, wait_s=60.0)))
    waiting.start()
    while not governor.collect_more_if_stuck():
        assert waiting.is_alive()
    waiting.join()
    assert [grant.granted for grant in grants] == [4]
    assert caller.acquire(4).granted == 0  # the slack again, no more
    assert governor.may_train(0)  # and training owes what collection is ahead
    for train_steps in range(1, 5):
        governor.train_step_completed(train_steps)
    assert not governor.may_train(4)


def test_phases_follow_completed_counts():
    governor = Governor(make_config(env_steps=6, warmup=2, train_steps=3, last=2, slack=8))
    caller = Caller(governor)
    phases = [governor.phase]
    for wanted in (2, 4):  # the second call reports what the first was granted
        caller.acquire(wanted)
        phases.append(governor.phase)
    assert phases == [Phase.WARMUP, Phase.WARMUP, Phase.COLLECTING]
    assert caller.acquire(4) == Grant(0, False, Phase.COLLECTING, env_steps=5)
    for train_steps in range(1, 4):
        assert governor.may_train(train_steps - 1)
        governor.train_step_completed(train_steps)
    assert not governor.may_train(3)  # the last train_steps come when collection has ended
    assert caller.acquire(4) == Grant(1, False, Phase.COLLECTING, env_steps=5)
    assert caller.acquire(4) == Grant(0, True, Phase.LAST_STEPS, env_steps=6)
    for train_steps in range(4, 6):
        assert governor.may_train(train_steps - 1)
        governor.train_step_completed(train_steps)
    assert governor.phase is Phase.FINISHED
    assert not governor.may_train(5)


def test_as_the_reference_has_it_training_catches_up_with_the_warm_up_before_more_is_played():
    config = make_config(env_steps=100, warmup=10, train_steps=50, slack=4, warmup_earns=True)
    governor = Governor(config)
    caller = Caller(governor)
    assert caller.acquire(10).granted == 10
    assert not governor.may_train(0)
    assert caller.acquire(4).granted == 0  # ten env_steps owe five train_steps, less the slack
    for train_steps in range(1, 6):
        assert governor.may_train(train_steps - 1)
        governor.train_step_completed(train_steps)
    assert not governor.may_train(5)
    assert caller.acquire(4).granted == 4
    caller.acquire(0)
    assert governor.may_train(6)
    assert not governor.may_train(7)


@pytest.mark.parametrize("warmup_earns", [False, True])
@pytest.mark.parametrize("train_steps", [7, 45, 400])
@pytest.mark.parametrize("slack", [1, 9, 1000])
def test_exactly_the_last_train_steps_follow_the_end_of_collection(
    warmup_earns, train_steps, slack
):
    config = make_config(
        env_steps=100,
        warmup=10,
        train_steps=train_steps,
        last=5,
        slack=slack,
        warmup_earns=warmup_earns,
    )
    governor, trained_at_the_end = Governor(config), []
    caller = Caller(governor)
    while governor.phase is not Phase.FINISHED:
        grant = caller.acquire(4)
        if grant.collection_ended:
            trained_at_the_end.append(governor.train_steps)
        if governor.may_train(governor.train_steps):
            governor.train_step_completed(governor.train_steps + 1)
    assert trained_at_the_end[0] == train_steps
    assert governor.train_steps == train_steps + 5


def test_what_reaches_replay_only_at_the_end_of_collection_is_waited_for_by_nobody():
    governor = Governor(make_config(env_steps=12, warmup=4, train_steps=100, last=2, slack=8))
    caller = Caller(governor)
    while caller.acquire(4).granted:
        pass
    assert governor.env_steps == 11
    governor.train_step_completed(1)  # and no batch more: replay is empty, and the actor waits
    grants = []
    waiting = threading.Thread(target=lambda: grants.append(caller.acquire(4, wait_s=60.0)))
    waiting.start()
    while not governor.collect_more_if_stuck():
        assert waiting.is_alive()
    waiting.join()
    assert [grant.granted for grant in grants] == [1]
    assert caller.acquire(4).collection_ended


def test_warmup_larger_than_budget_is_all_of_it():
    governor = Governor(make_config(env_steps=3, warmup=50, train_steps=2))
    caller = Caller(governor)
    assert caller.acquire(4) == Grant(3, False, Phase.WARMUP)
    assert not governor.may_train(0)
    assert caller.acquire(4).collection_ended
    assert governor.may_train(0)
    assert governor.may_train(1)
    assert not governor.may_train(2)


def test_without_paired_training_collection_is_free_and_training_comes_after():
    governor = Governor(make_config(env_steps=20, warmup=4, train_steps=0, last=3))
    caller = Caller(governor)
    while not caller.acquire(4).collection_ended:
        assert not governor.may_train(0) or governor.env_steps == 20
    assert governor.env_steps == 20
    assert governor.may_train(2)


def test_collection_has_not_ended_while_another_actor_holds_the_last_env_steps():
    governor = Governor(make_config(env_steps=8, warmup=8))
    first, second = Caller(governor, 0), Caller(governor, 1)
    first.acquire(4)
    second.acquire(4)
    assert first.acquire(4) == Grant(0, False, Phase.WARMUP, env_steps=8)
    successor = Caller(governor, 1, incarnation=2)  # the second died
    assert successor.acquire(4).granted == 4
    assert successor.acquire(4).collection_ended
    assert governor.env_steps == 8


def test_restarted_actor_gives_back_what_its_predecessor_held():
    governor = Governor(make_config(env_steps=100, warmup=10, slack=4))
    caller = Caller(governor)
    caller.acquire(10)
    caller.acquire(4)
    assert governor.env_steps_granted == 14
    successor = Caller(governor, incarnation=2)
    assert successor.acquire(4).granted == 4
    assert governor.env_steps_granted == 14
    assert governor.env_steps == 10
    with pytest.raises(ValueError, match="replaced"):
        caller.acquire(4)


def test_repeated_request_gets_the_same_answer_and_counts_once():
    governor = Governor(make_config(env_steps=100, warmup=10))
    caller = Caller(governor)
    caller.acquire(4)
    first = caller.acquire(4)
    assert caller.repeat(4, completed=4) == first
    assert (governor.env_steps, governor.env_steps_granted) == (4, 8)


def test_repeat_of_a_waiting_request_shares_its_answer():
    governor = Governor(make_config(env_steps=110, warmup=10, slack=4))
    caller = Caller(governor)
    caller.acquire(10)
    caller.acquire(4)
    caller.acquire(0)
    caller.request += 1
    answers: list[Grant] = []
    threads = [
        threading.Thread(
            target=lambda: answers.append(caller.repeat(4, completed=0, wait_s=30.0)),
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for train_steps in range(1, 5):
        governor.train_step_completed(train_steps)
    for thread in threads:
        thread.join(30.0)
    assert answers == [Grant(4, False, Phase.COLLECTING, env_steps=14)] * 2
    assert governor.env_steps_granted == 18


def test_those_who_asked_first_are_served_first():
    governor = Governor(make_config(env_steps=1001, warmup=1, train_steps=1000, slack=4))
    filler = Caller(governor, 9)
    filler.acquire(1)
    filler.acquire(4)
    grants: list[list[Grant]] = [[], [], []]
    threads = [
        acquire_in_thread(governor, index, 4, given_up=threading.Event(), grants=grants[index])
        for index in range(3)
    ]
    for index in range(3):
        for _ in range(4):
            governor.train_step_completed(governor.train_steps + 1)
        threads[index].join(30.0)
        assert [len(answers) for answers in grants] == [1] * (index + 1) + [0] * (2 - index)


def acquire_in_thread(
    governor: Governor, index: int, wanted: int, *, given_up: threading.Event, grants: list[Grant]
) -> threading.Thread:
    """Let actor ``index`` stand in line; return once it does."""

    def wait() -> None:
        grants.append(
            governor.acquire_env_steps(
                index,
                incarnation=1,
                request=1,
                completed=0,
                wanted=wanted,
                wait_s=60.0,
                given_up=given_up.is_set,
            )
        )

    before = len(governor._queue)
    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    while len(governor._queue) == before:
        time.sleep(0.001)
    return thread


def test_given_up_request_makes_room_for_those_behind_it():
    governor = Governor(make_config(env_steps=100, warmup=1, slack=3))
    caller = Caller(governor)
    caller.acquire(1)
    caller.acquire(2)  # room for one more
    given_up, grants, behind = threading.Event(), list[Grant](), list[Grant]()
    first = acquire_in_thread(governor, 1, 3, given_up=given_up, grants=grants)
    second = acquire_in_thread(governor, 2, 1, given_up=threading.Event(), grants=behind)
    assert not behind  # in order of arrival, though there is room for it
    given_up.set()
    second.join(30.0)
    first.join(30.0)
    assert grants == [Grant(0, False, Phase.COLLECTING, env_steps=3)]
    assert behind == [Grant(1, False, Phase.COLLECTING, env_steps=3)]
    assert governor.env_steps_granted == 4


def test_learner_wakes_when_the_pace_allows_and_on_stop():
    governor = Governor(make_config(env_steps=100, warmup=4))
    stop = StopSignal()
    assert not governor.wait_to_train(0, 0.0, stop)
    caller = Caller(governor)
    caller.acquire(4)
    results: list[bool] = []
    waiter = threading.Thread(target=lambda: results.append(governor.wait_to_train(0, 60.0, stop)))
    waiter.start()
    caller.acquire(4)
    assert governor.env_steps == 4
    caller.acquire(0)
    waiter.join(30.0)
    assert results == [True]
    stop.set("test")
    assert not governor.wait_to_train(99, 60.0, stop)


def test_status_line_names_what_the_learner_waits_for():
    governor = Governor(make_config(env_steps=110, warmup=10, train_steps=10, last=1, slack=100))
    caller = Caller(governor)
    assert governor.why_waiting() == "warm-up: 0/10 env_steps"
    caller.acquire(10)
    caller.acquire(1)
    assert governor.why_waiting() == "actors: 1 env_steps behind the pace"
    caller.acquire(1)
    assert governor.why_waiting() == ""
    governor.set_waiting_for("training batch")
    assert governor.why_waiting() == "training batch"
    governor.train_step_completed(1)
    assert governor.why_waiting() == "actors: 10 env_steps behind the pace"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"completed": 5}, "completed: got 5, wanted at most the 0 held"),
        ({"completed": -1}, "wanted none negative"),
        ({"wanted": -1}, "wanted none negative"),
        ({"request": 3}, "request number: got 3, wanted 1"),
    ],
)
def test_impossible_request_is_refused(change, message):
    governor = Governor(make_config())
    request = {"incarnation": 1, "request": 1, "completed": 0, "wanted": 4, "wait_s": 0.0}
    with pytest.raises(ValueError, match=message):
        governor.acquire_env_steps(0, given_up=lambda: False, **(request | change))
    assert governor.env_steps_granted == 0


def test_train_steps_are_counted_one_by_one():
    governor = Governor(make_config(train_steps=2, last=0))
    with pytest.raises(ValueError, match="got 2, wanted 1"):
        governor.train_step_completed(2)
    governor.train_step_completed(1)
    with pytest.raises(ValueError, match="got 1, wanted 2"):
        governor.train_step_completed(1)


def test_restored_counters_continue_the_run():
    config = make_config(env_steps=110, warmup=10, train_steps=100)
    governor = Governor(config)
    governor.restore(env_steps=60, train_steps=50)
    assert governor.phase is Phase.COLLECTING
    assert not governor.may_train(50)
    assert Caller(governor).acquire(4).granted == 4
    with pytest.raises(ValueError, match="begun"):
        governor.restore(env_steps=1, train_steps=1)
    with pytest.raises(ValueError, match="wanted at most"):
        Governor(config).restore(env_steps=111, train_steps=0)


def test_governor_that_follows_another_takes_over_its_actors_where_they_are():
    governor = Governor(make_config(env_steps=100, train_steps=100, slack=8))
    governor.restore(env_steps=60, train_steps=60)
    caller = Caller(governor)
    caller.request = 56  # of the time before
    assert caller.acquire(4, completed=4).granted == 4
    assert governor.env_steps == 64
    caller.held = 4
    caller.acquire(0)
    assert governor.env_steps == 68
    caller.request += 1
    with pytest.raises(ValueError, match="request number"):
        caller.acquire(0)


def test_budget_is_never_exceeded_by_what_an_actor_of_the_time_before_completed(caplog):
    governor = Governor(make_config(env_steps=100, train_steps=100, slack=8))
    governor.restore(env_steps=98, train_steps=98)
    caller = Caller(governor)
    caller.request = 56
    caller.acquire(0, completed=4)
    assert governor.env_steps == 100
    assert "2 env_steps were played beyond the budget" in caplog.text


def test_completed_env_steps_are_noted_as_they_grow():
    noted: list[int] = []
    config = make_config(env_steps=100, train_steps=100, slack=8)
    caller = Caller(Governor(config, note_env_steps=noted.append))
    caller.acquire(4)
    caller.acquire(0, completed=3)
    caller.acquire(0, completed=1)
    assert noted == [3, 4]


def test_actor_that_is_gone_gives_back_its_grant_and_cannot_return():
    governor = Governor(make_config(env_steps=100, warmup=10, slack=4))
    gone, other = Caller(governor, 0, incarnation=7), Caller(governor, 1)
    assert gone.acquire(10).granted == 10
    assert gone.acquire(4, completed=10).granted == 4  # all the slack
    assert other.acquire(4).granted == 0
    governor.forget(0, 7)
    assert governor.env_steps_granted == governor.env_steps == 10
    assert other.acquire(4).granted == 4
    with pytest.raises(ValueError, match="replaced"):
        gone.acquire(4)


def test_forgetting_a_process_leaves_its_successor_what_it_holds():
    governor = Governor(make_config(env_steps=100, warmup=10))
    before, after = Caller(governor, 0, incarnation=1), Caller(governor, 0, incarnation=2)
    before.acquire(4)
    assert after.acquire(4).granted == 4
    governor.forget(0, 1)
    assert governor.env_steps_granted == 4
    assert after.acquire(4).granted == 4


def test_process_forgotten_before_it_ever_asked_is_refused():
    governor = Governor(make_config())
    governor.forget(3, 9)
    with pytest.raises(ValueError, match="replaced"):
        Caller(governor, 3, incarnation=9).acquire(4)
