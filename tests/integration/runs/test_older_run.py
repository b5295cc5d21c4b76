"""A run that was begun before the code was rearranged goes on with the code of today.

`tests/golden/run-d53e2e0.tar.xz` is the folder of a tiny run of Catch at commit d53e2e0, stopped by
SIGTERM after 42 of its 125 train_steps; its `config.json` has the options. Left out are its logs,
tokens and leases, and all but the newest snapshot of replay. Never make it again with newer code:
that it is old is what it is for.
"""

import tarfile

import pytest

from tests.golden.presets import FILE
from tests.integration.local_runs import LocalRun

pytestmark = [pytest.mark.slow, pytest.mark.reverb]

OLDER_RUN = FILE.with_name("run-d53e2e0.tar.xz")
ENV_STEPS, TRAIN_STEPS = 272, 42
"""Made by the older code."""


def test_an_older_run_goes_on_where_it_stood(tmp_path):
    with tarfile.open(OLDER_RUN) as archive:
        archive.extractall(tmp_path, filter="data")
    with LocalRun(tmp_path, name="tiny", resume=True) as run:
        before = {name: run.lines(name) for name in ("episodes.jsonl", "evaluations.jsonl")}
        hash_before, uid_before = run.config["config_hash"], run.config["run_uid"]
        assert run.wait() == 0, run.output
        assert f"resumed at train_step {TRAIN_STEPS} " in run.output
        assert "restored snapshot" in run.output
        assert "Traceback" not in run.output
        assert (run.summary["env_steps"], run.summary["train_steps"]) == (600, 125)
        assert run.summary["exit_reason"] == "budget"
        assert run.config["config_hash"] == run.summary["config_hash"] == hash_before
        assert run.config["run_uid"] != uid_before  # a copy is a run of its own
        for name, lines in before.items():
            now = run.lines(name)
            assert now[: len(lines)] == lines
            added = now[len(lines) :]
            assert added
            assert min(line["env_steps"] for line in added) >= ENV_STEPS
