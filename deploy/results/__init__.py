"""What is said of runs that ended."""

from deploy.results.ended_run import EndedRun, ended_run, run_at
from deploy.results.fairness import read_stamp, unfair
from deploy.results.ladder import ladder_lines
from deploy.results.next_steps import DEFAULT_CPU_PRESET, own_command, resume_advice, try_next
from deploy.results.on_disk import wandb_folders
from deploy.results.scaling import read_scaling_run, scaling_points, scaling_table
from deploy.results.summary import budget_text, format_duration, software_versions, summary_lines
from deploy.results.wandb_history import Row, WandbRun, find_runs, read_rows

__all__ = [
    "DEFAULT_CPU_PRESET",
    "EndedRun",
    "Row",
    "WandbRun",
    "budget_text",
    "ended_run",
    "find_runs",
    "format_duration",
    "ladder_lines",
    "own_command",
    "read_rows",
    "read_scaling_run",
    "read_stamp",
    "resume_advice",
    "run_at",
    "scaling_points",
    "scaling_table",
    "software_versions",
    "summary_lines",
    "try_next",
    "unfair",
    "wandb_folders",
]
