"""What every command line follows: whole numbers, --version, mistakes in one line, likely names."""

import sys
from pathlib import Path

import pytest

import launch
from benchmarks.__main__ import main as benchmarks
from deploy.launching import command_line
from efficientzero.config.files import ConfigError, config_from_dict
from efficientzero.config.preset_files import load_preset
from efficientzero.config.spelling import closest
from efficientzero.process.options import whole_number
from efficientzero.worker.role_arguments import parse_server_line, parse_worker_line

ROOT = Path(__file__).resolve().parents[4]


def command(name):
    return lambda arguments: launch.main([name, *arguments])


COMMANDS = {
    "launch": launch.main,
    **{name: command(name) for name in launch.COMMANDS},
    "benchmarks": benchmarks,
    "worker": lambda arguments: parse_worker_line("actor", "Act."),
    "server": lambda arguments: parse_server_line("replay", "Keep."),
}


def ended(monkeypatch, name, *arguments):
    """Return the exit code of a command that ends at its options."""
    monkeypatch.setattr(sys, "argv", ["program", *arguments])
    try:
        return COMMANDS[name](list(arguments))
    except SystemExit as end:
        return end.code


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *(("1e5", 100_000), ("1_000", 1_000), ("1e3", 1_000), ("1.5e3", 1_500), ("0", 0)),
        *(("-7", -7), ("+3", 3), ("1E2", 100), ("2.0", 2), ("18446744073709551615", 2**64 - 1)),
    ],
)
def test_a_whole_number_may_be_written_in_several_ways(text, number):
    assert whole_number(text) == number


@pytest.mark.parametrize("text", ["1.5", "1e-3", "nan", "inf", "", "ten", "0x10", "1e999999999"])
def test_what_is_no_whole_number_is_refused(text):
    with pytest.raises(ValueError, match=r"got '.*', wanted a whole number such as"):
        whole_number(text)


def test_every_integer_option_takes_1e5():
    arguments = ["--budget.env-steps", "1e5", "--actors=2e0", "--seed", "1_0"]
    options = command_line.parse(arguments, load_preset("catch"))
    assert (options.config.budget.env_steps, options.actors, options.config.seed) == (10**5, 2, 10)


def test_a_config_file_takes_1e5_and_keeps_its_hash():
    config = config_from_dict({"budget": {"env_steps": 1e5}, "learner": {"learning_rate": 1.0}})
    assert config == config_from_dict(
        {"budget": {"env_steps": 100_000}, "learner": {"learning_rate": 1.0}}
    )
    assert type(config.budget.env_steps) is int
    assert type(config.learner.learning_rate) is float
    with pytest.raises(ConfigError, match=r"budget.env_steps: got 1\.5"):
        config_from_dict({"budget": {"env_steps": 1.5}})


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_version(monkeypatch, capsys, name):
    assert ended(monkeypatch, name, "--version") == 0
    said = capsys.readouterr()
    assert "efficientzero-distributed 0." in said.out
    assert said.err == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help_that_names_the_version(monkeypatch, capsys, name):
    assert ended(monkeypatch, name, "--help") == 0
    assert "--version" in capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_refuses_an_unknown_option_in_one_line(monkeypatch, capsys, name):
    further = ["--preset", "catch"] if name == "ablate" else []
    assert ended(monkeypatch, name, *further, "--no-such-option", "1") == 2
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert ": error: " in line
    assert "--no-such-option" in line or "Missing" in line  # report's --out comes first
    assert said.out == ""


@pytest.mark.parametrize(
    ("name", "option"),
    [
        *(("launch", "--runs-dir"), ("ablate", "--runs-dir"), ("launch", "--credentials")),
        *(("report", "--out"), ("ablate", "--emit-sweep")),
    ],
)
def test_an_empty_path_is_not_the_working_directory(monkeypatch, capsys, name, option):
    further = ["--preset", "catch"] if name != "report" else ["some"]
    assert ended(monkeypatch, name, *further, option, "") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{option}: got '', wanted a path" in line


def test_no_command_line_is_parsed_past_these_rules():
    parsers = [
        path.relative_to(ROOT)
        for folder in ("actor", "benchmarks", "deploy", "efficientzero", "learner", "reanalyzer")
        for path in (ROOT / folder).rglob("*.py")
        if "tyro.cli(" in path.read_text()
    ]
    assert parsers == [Path("efficientzero/process/options.py")]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--budget.env-steps", "1.5"), "--budget.env-steps: got '1.5', wanted a whole number"),
        (("--actors", "two"), "--actors: got 'two', wanted a whole number"),
        (("--actor.temperatures", "1", "x"), "--actor.temperatures: got '1', 'x', not all of"),
        (
            ("--agent.auxiliary-discounts", "0.8,0.9"),
            "got '0.8,0.9', wanted spaces between the values: --agent.auxiliary-discounts 0.8 0.9",
        ),
        (
            ("--actor.temperatures", "(1.0,", "5e-1)"),
            "got '(1.0,', '5e-1)', wanted spaces between the values: --actor.temperatures 1.0 5e-1",
        ),
        (("--serch.num-simulations", "3"), "(did you mean --search.num-simulations?)"),
        (("--clip-rewards",), "(did you mean --env.clip-rewards?)"),
        (("--search.algorithm", "gumble"), "'gumble'"),
        (("--budget.env-steps",), "--budget.env-steps"),
        (("statsu", "runs/x"), "(did you mean 'status'?)"),
        (
            ("cartpole",),
            "wanted an option or one of ablate, report, evaluate, match, search, status",
        ),
    ],
)
def test_a_mistake_is_one_line_that_names_what_was_meant(monkeypatch, capsys, arguments, words):
    assert ended(monkeypatch, "launch", *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("launch.py: error: ")
    assert words in line


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("ablate", ("--seeds", "0,1"), "--seeds 0 1"),
        ("ablate", ("--components", "consistency,value_prefix"), ": consistency value_prefix)"),
        ("benchmarks", ("baselines", "--algorithms", "dqn,ppo"), "them: --algorithms dqn ppo"),
        ("benchmarks", ("baselines", "--tasks", "catch,cartpole"), "them: catch cartpole)"),
    ],
)
def test_commas_between_values_are_answered_with_the_right_spelling(
    monkeypatch, capsys, name, arguments, words
):
    preset = ("--preset", "catch") if name == "ablate" else ()
    assert ended(monkeypatch, name, *arguments, *preset) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(words)


def test_the_advised_spelling_works():
    options = command_line.parse(
        ["--agent.auxiliary-discounts", "0.8", "0.9"], load_preset("catch")
    )
    assert options.config.agent.auxiliary_discounts == (0.8, 0.9)


def test_help_comes_whatever_else_is_named(monkeypatch, capsys):
    assert ended(monkeypatch, "launch", "--resume", "no/such/run", "--help") == 0
    assert "--search.num-simulations" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ({"num_simulations": 3}, "'search.num_simulations'"),
        ({"search": {"simulations": 3}}, "'search.num_simulations'"),
        ({"learner": {"num_simulations": 3}}, "'search.num_simulations'"),
        ({"env": {"grayscale": True}}, "'env.atari.grayscale'"),
        ({"budget": {"envsteps": 3}}, "'budget.env_steps'"),
        ({"serch": {}}, "'search'"),
    ],
)
def test_an_unknown_field_names_the_one_that_was_meant_in_whatever_part(key, meant):
    with pytest.raises(ConfigError, match=rf"unknown key .*did you mean {meant}\?"):
        config_from_dict(key)


def test_a_name_that_is_like_none_gets_no_odd_advice():
    assert closest("mujoco", ["muzero", "catch"]) == []
    assert closest("Atari_Small", ["atari100k", "atari-small"]) == ["atari-small"]
    assert closest("cart", ["catch", "cartpole"]) == ["cartpole"]
