"""``--compat``: the group, single switches beside it, and the name it gives a run."""

import dataclasses

import pytest

import launch
from deploy.launching import command_line
from deploy.launching.groups import run_group
from efficientzero.config.compat import COMPAT_GROUPS, compat_group
from efficientzero.config.fields import CompatConfig, Config
from efficientzero.config.files import ConfigError, config_from_dict
from efficientzero.config.preset_files import load_preset
from efficientzero.config.validation import validate
from efficientzero.envs import probe_env_spec

EVERY_SWITCH = [field.name for field in dataclasses.fields(CompatConfig)]


def config_of(*arguments: str, preset: str = "atari100k") -> Config:
    arguments = ("--preset", preset, *arguments)
    return command_line.parse(
        arguments, command_line.with_compat(arguments, load_preset(preset))
    ).config


def test_reference_turns_every_switch_on_and_none_turns_every_switch_off():
    off, on = (dataclasses.asdict(compat_group(name)) for name in ("none", "reference"))
    assert off == dataclasses.asdict(CompatConfig())
    assert [name for name in EVERY_SWITCH if on[name] == off[name]] == []
    assert (on["block_length"], on["target_weights_lag"]) == (400, 1)


def test_an_unknown_group_names_the_nearest():
    with pytest.raises(ConfigError, match=r"got 'refrence', wanted one of .*'reference'"):
        compat_group("refrence")


def test_the_command_line_takes_the_group_and_changes_nothing_else():
    config = config_of("--compat", "reference")
    assert config.compat == COMPAT_GROUPS["reference"]
    assert dataclasses.replace(config, compat=CompatConfig()) == Config()
    assert config_of("--compat=none") == config_of() == Config()


@pytest.mark.parametrize("order", [1, -1])
def test_single_switches_override_the_group_on_either_side_of_it(order):
    options = [
        ["--compat", "reference"],
        ["--compat.no-jpeg-frames"],
        ["--compat.block-length", "7"],
    ]
    config = config_of(*(word for option in options[::order] for word in option))
    wanted = dataclasses.replace(COMPAT_GROUPS["reference"], jpeg_frames=False, block_length=7)
    assert config.compat == wanted


def test_print_config_says_that_the_switches_came_from_the_command_line(capsys):
    assert launch.main(["--preset", "catch", "--compat", "reference", "--print-config"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["compat.block_length", "400", "command", "line"] in rows


def test_a_wrong_group_is_one_line(capsys):
    assert launch.main(["--local", "--compat", "referense"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "did you mean 'reference'" in line


def test_jpeg_of_vectors_is_refused_with_the_option_that_helps():
    config = config_of("--compat", "reference", preset="cartpole")
    with pytest.raises(ConfigError, match=r"compat\.jpeg_frames: .*--compat\.no-jpeg-frames"):
        validate(config, probe_env_spec(config.env))
    without = config_of("--compat", "reference", "--compat.no-jpeg-frames", preset="cartpole")
    validate(without, probe_env_spec(without.env))


@pytest.mark.parametrize("field", ["block_length", "target_weights_lag"])
def test_negative_lengths_are_refused(field):
    with pytest.raises(ConfigError, match=f"compat.{field}: got -1, wanted 0 or more"):
        validate(config_from_dict({"compat": {field: -1}}))


def test_a_run_as_the_reference_does_it_is_named_so_in_one_word():
    assert run_group(config_of("--compat", "reference")) == "ALE-Pong-v5_compat=reference"


def test_differences_from_the_group_are_listed():
    config = config_of("--compat", "reference", "--compat.no-jpeg-frames", "--seed", "4")
    assert run_group(config) == "ALE-Pong-v5_compat=reference_jpeg_frames=false"


def test_single_switches_are_listed_alone():
    config = config_of("--compat.block-length", "400", "--compat.jpeg-frames")
    assert run_group(config) == "ALE-Pong-v5_block_length=400_jpeg_frames=true"


def test_all_combinations_of_switches_have_names_of_their_own():
    on = COMPAT_GROUPS["reference"]
    names = set()
    for bits in range(2 ** len(EVERY_SWITCH)):
        chosen = {n: getattr(on, n) for i, n in enumerate(EVERY_SWITCH) if bits >> i & 1}
        names.add(run_group(dataclasses.replace(Config(), compat=CompatConfig(**chosen))))
    assert len(names) == 2 ** len(EVERY_SWITCH)
    assert max(map(len, names)) <= 112
