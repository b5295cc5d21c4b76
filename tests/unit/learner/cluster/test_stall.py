"""The sentence that says why the learner waits."""

import pytest

from efficientzero.metrics.pulse import Vitals
from learner.cluster.roster import Member, Seat
from learner.cluster.stall import cause_of


def learner(waiting_for, busy=0.2):
    return Vitals(1.0, "train_steps/s", waiting_for, busy, 0)


def worker(role, index, *, busy=1.0, waiting_for="", age_s=1.0):
    vitals = Vitals(1.0, "", waiting_for, busy, 0)
    return Member(Seat(role, index, 0, index + 1, "host", 1), 0.0, vitals), age_s


def cause(
    vitals,
    *members,
    replay_silent_s=0.0,
    in_warmup=True,
    awaits_evaluation=False,
    cores=64,
    are_launched=False,
):
    return cause_of(
        vitals,
        members,
        replay_silent_s=replay_silent_s,
        in_warmup=in_warmup,
        awaits_evaluation=awaits_evaluation,
        host="host",
        cores=cores,
        are_launched=are_launched,
    )


def test_full_reanalyzers_are_too_few():
    crowd = [worker("reanalyzer", 0, busy=1.0), worker("reanalyzer", 1, busy=0.98)]
    assert cause(learner("batch"), *crowd, worker("actor", 0, busy=0.1)) == (
        "learner waits for batches: 2 reanalyzers at 99 %, add reanalyzers"
    )


def test_full_actors_are_too_few():
    assert cause(learner("pace"), worker("actor", 0)) == (
        "learner waits for env_steps: 1 actor at 100 %, add actors"
    )


@pytest.mark.parametrize(
    ("cores", "advice"),
    [
        (1, "host has no core to spare (1): add actors on another machine"),
        (2, "host has no core to spare (2): add actors on another machine"),
        (3, "add actors"),
    ],
)
def test_no_line_advises_to_add_processes_to_a_full_machine(cores, advice):
    crowd = [worker("actor", 0), worker("reanalyzer", 0, busy=0.7)]
    text = "learner waits for env_steps: 1 actor at 100 %, "
    assert cause(learner("pace"), *crowd, cores=cores) == text + advice


def test_workers_of_another_machine_take_no_cores_of_the_learners():
    member, age_s = worker("actor", 0)
    away = Member(Seat("actor", 0, 0, 1, "other", 1), 0.0, member.vitals)
    assert cause(learner("pace"), (away, age_s), cores=1).endswith("1 actor at 100 %, add actors")


@pytest.mark.parametrize(
    ("waiting_for", "role"), [("pace", "actor"), ("warmup", "actor"), ("batch", "reanalyzer")]
)
def test_missing_role_is_named_with_the_command_that_starts_it(waiting_for, role):
    text = cause(learner(waiting_for), worker("evaluator", 0))
    assert f"no {role} is there, start one: python -m {role} --join" in text
    assert text.endswith("--join <this learner> --credentials DIR")


@pytest.mark.parametrize("waiting_for", ["pace", "warmup", "batch"])
@pytest.mark.parametrize("awaits_evaluation", [False, True])
def test_where_a_launcher_starts_the_workers_no_line_advises_to(waiting_for, awaits_evaluation):
    text = cause(learner(waiting_for), awaits_evaluation=awaits_evaluation, are_launched=True)
    assert text.endswith("is there, the launcher starts it")
    assert "--join" not in text


def test_a_warm_up_that_is_over_holds_nobody_up():
    assert cause(learner("warmup"), worker("actor", 0, busy=0.2), in_warmup=False) == ""


def test_idle_workers_report_what_they_wait_for():
    idle = [worker("reanalyzer", i, busy=0.1, waiting_for="slices") for i in range(2)]
    assert cause(learner("batch"), *idle).endswith("2 reanalyzers at 10 %, waiting for slices")


def test_silent_workers_are_said_to_be_silent():
    text = cause(learner("batch"), worker("reanalyzer", 0, age_s=14.0))
    assert text == "learner waits for batches: 1 reanalyzer silent for 14 s"


def test_silent_replay_comes_before_the_workers_it_holds_up():
    text = cause(learner("batch"), worker("reanalyzer", 0), replay_silent_s=31.0)
    assert text == "learner waits for batches: replay has not answered for 31 s"


def test_busy_learner_waits_for_nobody():
    assert cause(learner("batch", busy=0.95)) == ""
    assert cause(learner("", busy=0.5)) == ""


def test_run_without_evaluator_at_its_end_says_so():
    text = cause(learner("", busy=0.0), awaits_evaluation=True)
    assert "final evaluation: no evaluator is there" in text
    assert "python -m actor.evaluator --join" in text
    there = cause(learner("", busy=0.0), worker("evaluator", 0), awaits_evaluation=True)
    assert there == "learner waits for the final evaluation"
