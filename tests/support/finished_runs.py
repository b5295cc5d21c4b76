"""Folders of finished runs, for tests of the pages that read them."""

import json
from dataclasses import replace
from pathlib import Path

from efficientzero.config.fields import Config
from efficientzero.runs.run_folder import write_json
from tests.support.fakes import tiny_run

SUMMARY = {"exit_code": 0, "exit_reason": "budget", "wall_s": 90.0}


def finish(folder: Path, config: Config, returns: list[float], **summary) -> Path:
    """Write what a finished run leaves behind; ``returns`` at even env_steps."""
    run = replace(tiny_run(folder, config), versions={"git_commit": "c0ffee"})
    run.save()
    lines = []
    for index, value in enumerate(returns, start=1):
        evaluation = {
            "returns": [value - 0.5, value + 0.5],
            "env_steps": 3000 * index // len(returns),
            "train_steps": 100 * index,
            "wall_s": 60.0 * index,
            "is_final": index == len(returns),
        }
        lines.append(json.dumps(evaluation) + "\n")
    (folder / "evaluations.jsonl").write_text("".join(lines))
    write_json(folder / "summary.json", SUMMARY | summary)
    # Two of an older version's names for what the network and random play reach.
    games = config.evaluator.final_num_episodes
    for policy, value in (("prior", 0.25 + 0.01 * config.seed), ("random", -0.5)):
        played = {"returns": [value] * games, "return_mean": value, "seconds": 1.0}
        write_json(folder / f"baseline-{policy}.json", played | {"train_step": None})
    return folder
