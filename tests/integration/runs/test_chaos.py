"""The short form of ``python -m tests.chaos``: what no other test of this folder does to a run.

Killed actors, reanalyzers, learner and replay are in test_launch_local and test_resume.
"""

import pytest

from tests.chaos.cases import run_case
from tests.chaos.faults import FAULTS
from tests.chaos.sizes import SMALL

pytestmark = [pytest.mark.slow, pytest.mark.reverb]

PAUSE_S = 3.0
CASES = {
    "hung and damaged": (
        *("clocks jump", "pause replay", "pause learner", "pause actor"),
        # The evaluator last: until it is back, the learner would write more checkpoints.
        *("damaged checkpoint", "kill evaluator"),
    ),
    "full disk": ("disk full",),
}


@pytest.mark.parametrize("name", CASES)
def test_run_survives_and_says_what_it_lost(name, tmp_path):
    faults = [FAULTS[fault] for fault in CASES[name]]
    result = run_case(name, faults, tmp_path / "case", size=SMALL, seed=7, pause_s=PAUSE_S)
    if result.outcome.startswith("skipped"):
        pytest.skip(result.outcome)
    assert result.outcome == "ok"
    assert result.injected == len(faults)
