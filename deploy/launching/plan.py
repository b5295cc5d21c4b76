"""From the command line to what is started: which run, which preset, new or resumed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from deploy.checks import Fork, device_notes, fork_named, has_cuda_device
from deploy.launching.command_line import (
    Options,
    named_fields,
    named_option,
    parse,
    with_compat,
    with_short_options,
)
from deploy.launching.explain import config_table
from deploy.launching.prepare import Prepared, is_complete, prepare, prepare_resume
from deploy.launching.run_lock import run_lock
from deploy.launching.serve import existing_run
from deploy.launching.tokens import is_secured, write_tokens
from deploy.results import DEFAULT_CPU_PRESET
from deploy.supervising import CHECKOUT, Plan
from efficientzero.config import Config, ConfigError, load_preset, preset_of_env
from efficientzero.process.options import wants_help, wants_version
from efficientzero.rpc.credentials import CREDENTIALS_VARIABLE
from efficientzero.runs.run_folder import CONFIG_FILE, RunInfo

_OTHER_TASKS = "for tasks that are not Atari games start from --preset cartpole"


def make_plan(arguments: Sequence[str], commands: Sequence[tuple[str, str]]) -> Plan | str:
    """Return what to start, or what to print where nothing is to be started.

    Args:
        arguments: the command line, without the program's name.
        commands: the other commands of ``launch.py``: name, and line for --help.

    Raises:
        ConfigError: wrong options.
        PreflightError: the run cannot start.
        SystemExit: after ``--help``, ``--version`` or an option that does not exist.
    """
    if wants_help(arguments) or wants_version(arguments):
        interrupted, fork = None, None
    else:
        interrupted = find_run(arguments)
        fork = fork_named(lambda name: named_option(arguments, name))
    is_first_try = False
    if interrupted is not None:
        base, preset, why = interrupted.config, interrupted.config.preset, "the run's"
    elif fork is not None:
        named = named_option(arguments, "--preset")
        base = fork.base(load_preset(named) if named else None)
        preset, why = base.preset, "as asked for" if named else f"{fork.parent.run_id}'s config"
    else:
        preset, why, is_first_try = choose_preset(arguments)
        base = load_preset(preset)
    options = parse(arguments, with_compat(arguments, base), commands)
    config = with_short_options(options)
    if options.print_config:
        table = config_table(config, base, preset, named=named_fields(arguments))
        notes = device_notes(config)
        return table if len(notes) == 1 else "\n".join([table, "", *(text for _, text in notes)])
    check_mode(options)
    if interrupted is None and not options.local:
        interrupted = existing_run(options.runs_dir, options.run_id, config)
        if interrupted is not None and is_complete(interrupted):
            return f"{options.run_id} is complete: {interrupted.directory}"
        if interrupted is not None and options.prepare and interrupted.moved_from() is None:
            return f"{options.run_id} is prepared: {interrupted.directory}"
    prepared, lock = take(interrupted, config, options, fork)
    if options.prepare:
        if not is_secured(prepared.run):
            write_tokens(prepared.run)
        lock.close()
        said = f"{options.run_id} is prepared: {prepared.run.directory}"
        return "\n".join([said, *(text for name, text in prepared.notes if name == "identity")])
    notes = [("preset", f"{preset} ({why})"), *prepared.notes]
    return Plan(prepared.run, notes, lock, prepared.lease, options.local, is_first_try)


def check_mode(options: Options) -> None:
    """Check that one way to run is asked for, and name the credentials to all processes."""
    if options.local + options.serve + options.prepare != 1:
        raise ConfigError(
            "say where to run, in one way: python launch.py --local starts everything here, "
            "--serve what workers join (see --help)"
        )
    if options.credentials is not None:
        os.environ[CREDENTIALS_VARIABLE] = str(options.credentials.resolve())


def take(
    interrupted: RunInfo | None, config: Config, options: Options, fork: Fork | None
) -> tuple[Prepared, ExitStack]:
    """Return the run to start or to go on with, and what to close to let go of its folder.

    Raises:
        PreflightError: the run cannot start, or another launcher holds its folder.
        ConfigError: the folder of a run that goes on holds none any more.
    """
    with ExitStack() as stack:
        if interrupted is not None:
            note = stack.enter_context(run_lock(interrupted.directory))
            # Read again: another launcher may have run it since.
            prepared = prepare_resume(read_run(interrupted.directory, "--resume"), config)
            if note:
                prepared.notes.append(("lock", note))
        else:
            prepared = prepare(
                config,
                run_id=options.run_id,
                runs_dir=options.runs_dir,
                checkout=CHECKOUT,
                now=datetime.now(),
                fork=fork,
            )
            stack.push(prepared.lock)
        return prepared, stack.pop_all()


def find_run(arguments: Sequence[str]) -> RunInfo | None:
    """Return the run that --resume names, or None; the rest is parsed upon its config."""
    given = named_option(arguments, "--resume")
    if given is None:
        return None
    if named_option(arguments, "--preset") is not None:
        raise ConfigError("--preset: a resumed run keeps its own; leave it out")
    return read_run(Path(given), "--resume")


def read_run(folder: Path, option: str) -> RunInfo:
    """Return the run in ``folder``, which ``option`` named."""
    try:
        return RunInfo.load(folder / CONFIG_FILE)
    except ValueError as error:
        raise ConfigError(f"{option}: wanted a run's folder: {error}") from error


class Choice(NamedTuple):
    """A preset, which the rest of the command line is parsed upon."""

    preset: str
    why: str
    is_first_try: bool = False  # on a CPU, with neither preset nor environment named


def choose_preset(arguments: Sequence[str]) -> Choice:
    """Return the preset that is named, else one for the environment, else one for the machine."""
    preset = named_option(arguments, "--preset")
    if preset is not None:
        return Choice(preset, "as asked for")
    env_id = named_option(arguments, "--env") or named_option(arguments, "--env.id")
    own = preset_of_env(env_id) if env_id else None
    if own is not None:
        return Choice(own, f"made for {env_id}; choose another with --preset")
    if has_cuda_device():
        return Choice("atari100k", "a CUDA device was found; choose another with --preset")
    if env_id:
        return Choice("atari-small", f"no usable CUDA device was found; {_OTHER_TASKS}")
    why = "no usable CUDA device was found: a task of minutes; choose another with --preset"
    return Choice(DEFAULT_CPU_PRESET, why, is_first_try=True)
