"""Two ranks make one rank's updates, and a rank that dies ends the run."""

import subprocess
import sys

import pytest
import torch

from efficientzero.metrics.section_timer import SectionTimer
from learner.training.local_targets import local_targets
from learner.training.optimizers import make_optimizer
from learner.training.update import Updater
from tests.integration.local_runs import CHECKOUT, TINY, LocalRun
from tests.support.cases.loss_cases import IMAGE, make_network
from tests.support.rank_worker import CASES, train

pytestmark = pytest.mark.slow
PATIENCE_S = 300.0


def close(got, wanted):
    torch.testing.assert_close(got, wanted, rtol=2e-3, atol=2e-5)


@pytest.mark.parametrize("name", CASES)
def test_two_ranks_make_the_updates_of_one_with_the_whole_batch(tmp_path, name):
    command = [sys.executable, "-m", "tests.support.rank_worker", name, str(tmp_path)]
    ranks = [subprocess.Popen([*command, str(rank)], cwd=CHECKOUT) for rank in range(2)]
    try:
        assert [rank.wait(PATIENCE_S) for rank in ranks] == [0, 0]
    finally:
        for rank in ranks:
            rank.kill()
    config = CASES[name]
    network = make_network(config, IMAGE, seed=0).float()
    targets = local_targets(network, config)
    trained = (network, make_optimizer(network, config), config, SectionTimer("learner"))
    updater = Updater(*trained, targets=targets)
    wanted = train(config, updater, network, lambda batch, step: batch)
    got = torch.load(tmp_path / "leader.pt")
    for got_step, wanted_step in zip(got["steps"], wanted["steps"], strict=True):
        assert got_step["gradients"].keys() == wanted_step["gradients"].keys()
        close(got_step, wanted_step)
    close(got["network"], wanted["network"])  # batch-norm statistics included
    follower = torch.load(tmp_path / "follower.pt")
    assert follower.keys() == got["network"].keys()
    for key, tensor in follower.items():
        assert torch.equal(tensor, got["network"][key]), key


TWO = (*TINY, "--learner.num-devices", "2", "--budget.warmup-env-steps", "100")


def test_a_run_with_two_ranks_ends_at_its_budget(tmp_path):
    budget = (
        *("--budget.env-steps", "200", "--budget.train-steps", "20"),
        *("--budget.last-train-steps", "2", "--evaluator.final-num-episodes", "2"),
    )
    with LocalRun(tmp_path, *TWO, *budget) as run:
        assert run.wait() == 0, run.output
        assert run.pids() == {}
        assert run.summary["exit_reason"] == "budget"
        assert "Traceback" not in run.output
        assert "rank-1" in run.output
        assert run.summary["cpu_seconds"]["rank"] > 1.0


def test_a_rank_that_dies_ends_the_run_and_is_named(tmp_path):
    endless = ("--budget.env-steps", "1000000", "--budget.train-steps", "1000000")
    with LocalRun(tmp_path, *TWO, *endless) as run:
        run.wait_for_status("training", lambda status: status.train_steps >= 2)
        run.kill("rank-1")
        assert run.wait() == 1, run.output
        assert run.pids() == {}
        assert "rank-1 was killed by SIGKILL" in run.summary["exit_reason"]
        assert "starts again only as a whole" in run.summary["exit_reason"]
