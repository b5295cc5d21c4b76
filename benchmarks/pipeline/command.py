"""The command ``pipeline``: real replay, actors, and the pace between the processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
import tyro

from benchmarks.measuring import Usage, describe_machine
from benchmarks.pipeline.actor import measure_actor
from benchmarks.pipeline.learner import learner_rows
from benchmarks.pipeline.relay import measure_relay
from benchmarks.pipeline.replay import measure_replay
from benchmarks.pipeline.scaling import measure_scaling
from benchmarks.report import print_rows

_TITLE = "replay, actors and pace"


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineCommand:
    """Measure replay, sampling, actors and their scaling on real processes; about two minutes.

    benchmarks/README.md says what each row means.
    """

    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """One JSON object a row instead of the table; the first describes the machine."""


def measure_pipeline(command: PipelineCommand) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    machine, usage = describe_machine(), Usage()
    if not command.json:
        print(machine, flush=True)
    rows = [
        *measure_replay(),
        *measure_relay(),
        *measure_scaling(),
        *measure_actor(),
        *learner_rows(quick=True),
    ]
    effort = f"{usage.wall_s:.0f} s"
    print_rows(rows, machine=machine, effort=effort, as_json=command.json, title=_TITLE)
