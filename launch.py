"""Start a run: ``python launch.py --local``. The one command a person needs.

Resolves the configuration (defaults < preset < command line), checks what can go wrong, writes the
run folder and hands the processes to the supervisor. Knows no role beyond its name.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from deploy.interrupt import (
    flush_or_drop,
    leave_when_interrupted,
)

if __name__ == "__main__":
    leave_when_interrupted()

from deploy.ablate.__main__ import main as ablate
from deploy.checks import (
    Fork,
    PreflightError,
    fork_named,
    has_cuda_device,
    reason,
)
from deploy.launching import (
    Options,
    Prepared,
    config_table,
    existing_run,
    is_complete,
    named_fields,
    named_option,
    parse,
    prepare,
    prepare_resume,
    run_lock,
    with_compat,
    with_short_options,
)
from deploy.results import (
    DEFAULT_CPU_PRESET,
    resume_advice,
    summary_lines,
    try_next,
    wandb_folders,
)
from deploy.supervising import (
    CHECKOUT,
    DETERMINISTIC_ARITHMETIC,
    EXIT_FAILED,
    SERVER_ROLES,
    Child,
    Graces,
    NoteHandler,
    RunConsole,
    RunMonitor,
    StopRequests,
    Supervisor,
    child_environment,
    learner_status,
    processes,
    status,
)
from efficientzero.config import (
    Config,
    ConfigError,
    load_preset,
    nearest,
    preset_of_env,
)
from efficientzero.process.options import (
    wants_help,
    wants_version,
)
from efficientzero.process.runtime import (
    LAUNCHED_WORKERS_VARIABLE,
    LAUNCHER_PID_VARIABLE,
    die_with_parent,
)
from efficientzero.rpc.credentials import (
    CREDENTIALS_VARIABLE,
    credentials_folder,
    is_loopback,
    make_local_credentials,
)
from efficientzero.runs.lease import (
    Fenced,
    Lease,
)
from efficientzero.runs.results.run_summary import (
    EVALUATIONS_FILE,
    Outcome,
    save_summary,
    summarize,
)
from efficientzero.runs.run_folder import (
    CONFIG_FILE,
    RunInfo,
)

INCARNATIONS_PER_LAUNCH = 1_000
"""More than a process is ever started again in one launch."""


def write_report(arguments: Sequence[str]) -> int:
    """Run ``launch.py report``; only then is what it draws with imported."""
    page = importlib.import_module("deploy.report.__main__")
    return int(page.main(arguments))


_COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "ablate": ablate,
    "report": write_report,
    "status": status.main,
}


def main(arguments: Sequence[str]) -> int:
    """Run the command line and return the exit code."""
    command = _COMMANDS.get(arguments[0] if arguments else "")
    if command is not None:
        return command(arguments[1:])
    try:
        plan = make_plan(arguments)
    except (ConfigError, PreflightError) as error:
        print(f"launch.py: error: {error}", file=sys.stderr)
        return 2
    if isinstance(plan, str):
        print(plan)
        return 0
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # a closed terminal must not kill the launcher
    if LAUNCHER_PID_VARIABLE in os.environ:
        die_with_parent()  # started by `launch.py ablate`, which must not leave runs behind
    try:
        with plan.lock, local_credentials(plan.run):
            return run_locally(plan)
    except PreflightError as error:
        print(f"launch.py: error: {error}", file=sys.stderr)
        return 2


@contextmanager
def local_credentials(run: RunInfo) -> Iterator[None]:
    """Use new tokens of this run alone, on loopback and where no credentials are named."""
    if is_secured(run):
        yield
        return
    os.environ[CREDENTIALS_VARIABLE] = str(own_tokens(run))
    try:
        yield
    finally:
        del os.environ[CREDENTIALS_VARIABLE]


def own_tokens(run: RunInfo) -> Path:
    """Return the folder of the run's own tokens, written where they are missing."""
    try:
        return make_local_credentials(run.directory)
    except OSError as error:
        where = error.filename or run.directory
        raise PreflightError(f"{where}: cannot write the run's tokens ({reason(error)})") from error


def is_secured(run: RunInfo) -> bool:
    """Tell whether credentials are named, or must be: beyond loopback."""
    return credentials_folder() is not None or not is_loopback(run.config.cluster.bind_host)


class Plan(NamedTuple):
    """What to start."""

    run: RunInfo
    notes: list[tuple[str, str]]  # told first
    lock: ExitStack  # lets go of the run folder
    lease: Lease  # the right to write the summary
    has_workers: bool  # start them here
    is_first_try: bool  # nothing was named: what to try next is told at the end


def make_plan(arguments: Sequence[str]) -> Plan | str:
    """Return what to start, or what to print where nothing is to be started.

    Raises:
        ConfigError: wrong options.
        PreflightError: the run cannot start.
    """
    if wants_help(arguments) or wants_version(arguments):
        interrupted, fork = None, None
    else:
        check_command(arguments)
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
    options = parse(arguments, with_compat(arguments, base))
    config = with_short_options(options)
    if options.print_config:
        return config_table(config, base, preset, named=named_fields(arguments))
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
            own_tokens(prepared.run)
        lock.close()
        said = f"{options.run_id} is prepared: {prepared.run.directory}"
        return "\n".join([said, *(text for name, text in prepared.notes if name == "identity")])
    notes = [("preset", f"{preset} ({why})"), *prepared.notes]
    return Plan(prepared.run, notes, lock, prepared.lease, options.local, is_first_try)


def check_command(arguments: Sequence[str]) -> None:
    """Refuse a word in front that is no command, with the one that was probably meant."""
    word = arguments[0] if arguments else "-"
    if not word.startswith("-"):
        meant = nearest(word, list(_COMMANDS))
        raise ConfigError(f"got {word!r}, wanted an option or one of {', '.join(_COMMANDS)}{meant}")


def check_mode(options: Options) -> None:
    """Check that one thing is asked for, and let all processes know the credentials."""
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
    """Return the run that --resume names, or None; its config is what the rest is parsed upon."""
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


_OTHER_TASKS = "for tasks that are not Atari games start from --preset cartpole"


def run_locally(plan: Plan) -> int:
    """Start, watch and end the run's processes; return the exit code."""
    run, notes, has_workers = plan.run, plan.notes, plan.has_workers
    started, wandb_before = time.monotonic(), wandb_folders(run.directory)
    requests = StopRequests()
    requests.install()
    cluster = run.config.cluster
    with ExitStack() as stack:
        console = stack.enter_context(RunConsole(sys.stderr))
        logging.basicConfig(level=logging.INFO, handlers=[NoteHandler(console)])
        for name, text in notes:
            console.note(f"{name:<10} {text}")
        fetch = stack.enter_context(learner_status(run.learner_address))
        monitor = stack.enter_context(
            RunMonitor(
                fetch,
                evaluations_path=run.directory / EVALUATIONS_FILE,
                show=console.show,
                stop=requests.stop,
                until_evaluated=cluster.evaluator and not has_workers,
            )
        )
        threads = cluster.threads_per_process
        launch = secrets.token_hex(8)
        env = child_environment(os.environ, run_uid=run.run_uid, launch=launch, threads=threads)
        if has_workers:
            env[LAUNCHED_WORKERS_VARIABLE] = "1"
        if cluster.deterministic:
            env |= DETERMINISTIC_ARITHMETIC
        log_dir = run.directory / "logs"
        children = [
            Child(
                spec,
                log_dir=log_dir,
                env=env,
                sink=console.line,
                stop=requests.stop,
                first_incarnation=run.num_resumes * INCARNATIONS_PER_LAUNCH,
            )
            for spec in processes(run)
            if has_workers or spec.role in SERVER_ROLES
        ]
        supervisor = Supervisor(
            children,
            launch=launch,
            max_restarts=None if cluster.deterministic else cluster.max_restarts,
            progress=monitor.progress,
            note=console.note,
            graces=Graces(),
        )
        outcome = supervisor.run(requests)
    # A rank records nothing of its own.
    recording = [child.spec.name for child in children if child.spec.role != "rank"]
    wall_s = time.monotonic() - started
    return report(plan, outcome, monitor, wall_s, expected=recording, wandb_before=wandb_before)


def report(
    plan: Plan,
    outcome: Outcome,
    monitor: RunMonitor,
    wall_s: float,
    *,
    expected: Collection[str],
    wandb_before: Collection[str],
) -> int:
    """Write and print the summary (see ``summary_lines``) and what may be done next.

    Returns:
        The exit code.
    """
    run = plan.run
    summary = summarize(run, outcome, status=monitor.last_status, wall_s=wall_s)
    try:
        plan.lease.check()
        save_summary(run, summary)
    except Fenced as error:
        print(f"launch.py: error: no summary: {error}", file=sys.stderr)
    except OSError as error:
        text = f"cannot write {run.directory}/summary.json ({error.strerror})"
        print(f"launch.py: error: {text}", file=sys.stderr)
    lines = summary_lines(run, summary, expected=expected, wandb_before=wandb_before)
    lines += advice_lines(plan, summary)
    with contextlib.suppress(OSError):  # nobody reads any more
        print("\n".join(["", *lines]), flush=True)
    return outcome.exit_code


def advice_lines(plan: Plan, summary: Mapping[str, Any]) -> list[str]:
    """Return how a run goes on that was stopped, or what to try after a first one."""
    rows: list[tuple[str, str]] = []
    if summary["exit_code"] and not summary["eval_is_final"]:
        advice = resume_advice(plan.run, is_served=not plan.has_workers)
        has_failed = summary["exit_code"] == EXIT_FAILED
        rows = [("resume", advice + " (once the cause is mended)" * has_failed)]
    elif plan.is_first_try and not summary["exit_code"]:
        rows = [("try next", f"{what}: {command}") for what, command in try_next(plan.run)]
    return [f"{name:<10} {value}" for name, value in rows]


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # "--help | head" is no error
    try:
        sys.exit(main(sys.argv[1:]))
    finally:
        flush_or_drop()
