"""Runs whose workers join from elsewhere: what ``launch.py --serve`` and ``--prepare`` do.

Both may be repeated, as a container does that is started again with the same command: the folder
shows what there is to do. Called by ``launch.py``.
"""

from __future__ import annotations

from pathlib import Path

from deploy.checks import PreflightError, check_run_name, reason
from deploy.launching.config_checks import check_same_experiment
from efficientzero.config import Config, ConfigError
from efficientzero.runs.run_folder import RunInfo


def existing_run(runs_dir: Path, run_id: str, config: Config) -> RunInfo | None:
    """Return the run that is to go on, or None if it is a new one.

    Raises:
        PreflightError: no name, or the folder holds another experiment.
        ConfigError: the folder holds no run.
    """
    if not run_id:
        raise PreflightError("--run-id: got none, wanted the run's name: the same at every start")
    check_run_name(run_id)
    path = runs_dir / run_id / "config.json"
    try:
        if not path.exists():
            return None
    except OSError as error:
        raise PreflightError(f"--runs-dir: {path} cannot be read ({reason(error)})") from error
    try:
        run = RunInfo.load(path)
    except ValueError as error:
        raise ConfigError(f"--run-id: wanted a run's folder: {error}") from error
    check_same_experiment(run.config, config, "--run-id")
    return run
