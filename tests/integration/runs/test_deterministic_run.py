"""Two deterministic runs of one seed, as a person starts them, give the same weights bit by bit."""

import os
import subprocess
import sys

import pytest

from deploy.supervising.child import DETERMINISTIC_ARITHMETIC
from tests.integration.local_runs import CHECKOUT, TINY, LocalRun

pytestmark = [pytest.mark.slow, pytest.mark.reverb]

PATIENCE_S = 600.0

BUDGET = (
    *("--budget.env-steps", "203", "--budget.train-steps", "30", "--budget.last-train-steps", "6"),
    *("--evaluator.interval-train-steps", "12", "--evaluator.num-episodes", "2"),
    *("--evaluator.final-num-episodes", "3", "--deterministic"),
)
IMAGES = (*TINY, *BUDGET, "--budget.warmup-env-steps", "100", "--learner.augmentation")
# One environment: its searches are products of a single row, which MKL rounds by address.
VECTORS = (
    *(*TINY, *BUDGET, "--preset", "cartpole", "--budget.warmup-env-steps", "60"),
    *("--search.algorithm", "gumbel", "--actor.num-envs", "1"),
)
TIMES = ("wall_s", "seconds")


def outcome_of(runs_dir, name, *options):
    """Return the digest of the weights, the evaluations and the episodes, without their times."""
    with LocalRun(runs_dir, *options, name=name) as run:
        assert run.wait(PATIENCE_S) == 0, run.output
        digest = run.summary["weights_sha256"]
        assert f"weights    sha256 {digest}" in run.output
        records = [
            {key: value for key, value in line.items() if key not in TIMES}
            for file in ("evaluations.jsonl", "episodes.jsonl")
            for line in run.lines(file)
        ]
    return digest, records


@pytest.mark.parametrize("options", [IMAGES, VECTORS], ids=["catch-puct", "cartpole-gumbel"])
def test_one_seed_gives_one_set_of_weights_evaluations_and_episodes(tmp_path, options):
    first = outcome_of(tmp_path / "runs", "first", *options, "--seed", "5")
    again = outcome_of(tmp_path / "runs", "again", *options, "--seed", "5")
    assert first == again
    evaluated = [line["weights_version"] for line in first[1] if "is_final" in line]
    assert evaluated == [15, 25, 36]  # published every 5: the first from 12 on, from 24, the last


def test_another_seed_gives_other_weights(tmp_path):
    digests = [
        outcome_of(tmp_path / "runs", seed, *IMAGES, "--seed", seed)[0] for seed in ("6", "7")
    ]
    assert digests[0] != digests[1]


def test_death_of_a_process_ends_the_run_and_says_that_it_cannot_be_started_again(tmp_path):
    endless = ("--budget.env-steps", "1000000", "--budget.train-steps", "1000000")
    with LocalRun(tmp_path / "runs", *IMAGES, *endless) as run:
        run.wait_for_status("training", lambda status: status.train_steps > 0)
        run.kill("actor-0")
        assert run.wait(PATIENCE_S) == 1
        assert run.pids() == {}
        reason = run.summary["exit_reason"]
    assert reason.startswith("failed: actor-0 was killed by SIGKILL")
    assert "a deterministic run cannot start it again" in reason


PRODUCTS = """
import torch
torch.set_num_threads(1)
torch.manual_seed(0)
layer, row = torch.nn.Linear(64, 61), torch.randn(1, 64)
answers = set()
for offset in range(16):
    moved = torch.empty(80)[offset : offset + 64].view(1, 64).copy_(row)
    answers.add(layer(moved).detach().numpy().tobytes())
print(len(answers))
"""


def test_products_do_not_depend_on_where_their_arguments_lie():
    done = subprocess.run(
        [sys.executable, "-c", PRODUCTS],
        cwd=CHECKOUT,
        env=os.environ | DETERMINISTIC_ARITHMETIC,
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    )
    assert done.stdout.split() == ["1"]
