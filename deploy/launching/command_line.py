"""The options of ``launch.py``: what to do, and every field of the configuration."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from deploy.launching.env_kwargs import REGISTRY, join_kwargs
from efficientzero.config import PRESETS, REMOVED_FIELDS, Config, compat_group
from efficientzero.process.options import parse_options, refuse_options

_DESCRIPTION = """Train EfficientZero: a learner, replay, actors, reanalyzers and an evaluator.

Commands, each with its own --help; without one, a run is started:

{commands}

Examples:

  python launch.py --local                                  the preset that suits this machine
  python launch.py --local --preset catch                   the whole system in some minutes
  python launch.py --local --env ALE/Breakout-v5 --seed 1   another game
  python launch.py --local --actors 4 --search.num-simulations 25
  python launch.py --local --compat reference --compat.no-jpeg-frames   as the reference does it
  python launch.py --local --resume runs/NAME               go on after Ctrl-C or a crash
  python launch.py --local --frozen-replay runs/NAME --learner.learning-rate 1e-3
                                                            other losses, the same data, no actors
  python launch.py --preset cartpole --print-config         every value and where it comes from
  python launch.py --serve --run-id NAME ...                replay and learner; workers join them

Presets: {presets}. Every field below can be set; values are taken from the command line,
else from the preset, else from the defaults. Results are in runs/NAME/: config.json, logs/,
evaluations.jsonl, summary.json, wandb/. Ctrl-C stops in order and saves; a second one at once.
Exit codes: 0 at budget, 1 failed, 2 wrong options, 130 after Ctrl-C, 143 after SIGTERM."""


@dataclass(frozen=True, kw_only=True)
class ShortOptions:
    """Options of every command that starts runs which stand for a field of the configuration."""

    env: Annotated[str | None, tyro.conf.arg(metavar="ID", help_behavior_hint="")] = None
    """Short for --env.id."""
    reanalyzers: Annotated[int | None, tyro.conf.arg(metavar="N", help_behavior_hint="")] = None
    """Short for --cluster.num-reanalyzers."""
    compat: Annotated[str | None, tyro.conf.arg(metavar="GROUP", help_behavior_hint="")] = None
    """All --compat.* switches at once: reference (as the reference implementation does it, faults
    included) or none (the default). Single ones can be set as well (docs/reference/compat.md)."""
    entity: Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")] = None
    """Short for --tracking.entity."""
    project: Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")] = None
    """Short for --tracking.project."""
    group_suffix: Annotated[str | None, tyro.conf.arg(metavar="TEXT", help_behavior_hint="")] = None
    """Short for --tracking.group-suffix: appended to the run group's name."""
    deterministic: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Short for --cluster.deterministic: one seed gives the same weights, bit by bit."""
    config: Annotated[Config, tyro.conf.arg(name="")] = dataclasses.field(default_factory=Config)


@dataclass(frozen=True, kw_only=True)
class _Actions:
    """What to do."""

    local: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Run all processes on this machine."""
    serve: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Run replay and learner; workers join with python -m actor --join HOST:PORT. Again with the
    same --run-id, it goes on where the run was."""
    prepare: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Only write the run folder, for python -m replay and python -m learner."""
    credentials: Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")] = None
    """Token, certificate and key (deploy/scripts/make_certs.sh). Default:
    EFFICIENTZERO_CREDENTIALS."""
    actors: Annotated[int | None, tyro.conf.arg(metavar="N", help_behavior_hint="")] = None
    """Short for --cluster.num-actors."""
    resume: Annotated[Path | None, tyro.conf.arg(metavar="RUN", help_behavior_hint="")] = None
    """Go on with the run in this folder; only cluster and tracking options may differ."""
    fork_from: Annotated[Path | None, tyro.conf.arg(metavar="RUN", help_behavior_hint="")] = None
    """Start a new run with the replay of the run in this folder: its newest snapshot, or the one at
    this path, with priorities. Its env_steps count as played: the run trains until it has caught up
    with its pace, then plays on to its own budget. Network, optimiser and train_steps start new.
    Options not given are the other run's (or those of --preset), whose folder is only read."""
    frozen_replay: Annotated[Path | None, tyro.conf.arg(metavar="RUN", help_behavior_hint="")] = (
        None
    )
    """As --fork-from, without actors: nothing is played, all train_steps are made on what the
    snapshot holds. Runs that name the same snapshot differ in their own options alone."""
    fork_weights: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """With one of these two: take the weights and the optimiser's moments as well, from the
    checkpoint that belongs to the snapshot, and go on at its train_step. To see what a change does
    from there on; an ablation starts without."""
    run_id: Annotated[str, tyro.conf.arg(metavar="NAME", help_behavior_hint="")] = ""
    """Name of the run's folder. Default: environment, preset, seed and time."""
    runs_dir: Path = Path("runs")
    """Where run folders lie."""
    print_config: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print every field, its value and where it came from, and exit."""


@dataclass(frozen=True, kw_only=True)
class Options(ShortOptions, _Actions):
    """The command line: what to do, and the configuration."""


_SHORT = {
    "env": "env.id",
    "actors": "cluster.num_actors",
    "reanalyzers": "cluster.num_reanalyzers",
    "deterministic": "cluster.deterministic",
    "group_suffix": "tracking.group_suffix",
    "entity": "tracking.entity",
    "project": "tracking.project",
}


def with_compat(arguments: Sequence[str], base: Config) -> Config:
    """Return ``base`` with the group of compat switches that ``--compat`` names."""
    group = named_option(arguments, "--compat")
    return base if group is None else dataclasses.replace(base, compat=compat_group(group))


def named_option(arguments: Sequence[str], wanted: str) -> str | None:
    """Return the value of an option that decides on the defaults of the others, or None."""
    for number, argument in enumerate(arguments):
        name, _, value = argument.partition("=")
        if name.replace("_", "-") == wanted:
            return value or "".join(arguments[number + 1 : number + 2])
    return None


def parse(
    arguments: Sequence[str], base: Config, commands: Sequence[tuple[str, str]] = ()
) -> Options:
    """Parse the command line; a mistake, --help or --version ends the process.

    Args:
        arguments: without the program's name.
        base: the values of fields that are not given.
        commands: the other commands of ``launch.py``: name, and line for --help.
    """
    refuse_removed(arguments, "launch.py")
    options: Options = parse_options(
        Options,
        join_kwargs(arguments),
        prog="launch.py",
        description=_DESCRIPTION.format(
            presets=", ".join(PRESETS),
            commands="\n".join(f"  python launch.py {name:<10}{text}" for name, text in commands),
        ),
        default=Options(config=base),
        registry=REGISTRY,
    )
    return options


def refuse_removed(arguments: Sequence[str], prog: str) -> None:
    """End the process with the reason where an option of an earlier version is given."""
    for key in sorted(named_fields(arguments) & REMOVED_FIELDS.keys()):
        refuse_options(prog, f"--{key.replace('_', '-')}: {REMOVED_FIELDS[key][1]}")


def with_short_options(options: ShortOptions) -> Config:
    """Return the configuration with the short options' values in their places."""
    config = options.config
    env, cluster, tracking = config.env, config.cluster, config.tracking
    if options.env is not None:
        env = dataclasses.replace(env, id=options.env)
    if isinstance(options, Options) and options.actors is not None:
        cluster = dataclasses.replace(cluster, num_actors=options.actors)
    if options.reanalyzers is not None:
        cluster = dataclasses.replace(cluster, num_reanalyzers=options.reanalyzers)
    if options.deterministic:
        cluster = dataclasses.replace(cluster, deterministic=True)
    if options.group_suffix is not None:
        tracking = dataclasses.replace(tracking, group_suffix=options.group_suffix)
    if options.entity is not None:
        tracking = dataclasses.replace(tracking, entity=options.entity)
    if options.project is not None:
        tracking = dataclasses.replace(tracking, project=options.project)
    return dataclasses.replace(config, env=env, cluster=cluster, tracking=tracking)


def named_fields(arguments: Sequence[str]) -> set[str]:
    """Return the dotted fields that the command line names, equal to the preset or not."""
    options = [a.partition("=")[0] for a in arguments if a.startswith("--")]
    names = [option.removeprefix("--").replace("-", "_") for option in options]
    return {_SHORT.get(name, name.replace(".no_", ".")) for name in names}
