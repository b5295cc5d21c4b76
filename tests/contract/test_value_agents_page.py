"""Both command lines of the page on value-based agents run as they are written there."""

import re
import shlex
from pathlib import Path

import pytest

import launch
from deploy.launching import command_line
from efficientzero.config import load_preset, role_device, validate

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "value-agents.md"
BLOCKS = re.findall(r"^```\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
COMMANDS = [
    shlex.split(line, comments=True)
    for block in BLOCKS
    for line in block.replace("\\\n", " ").splitlines()
]
WITHOUT_SEARCH, WITH_SEARCH = COMMANDS[-2:]


def config_of(command):
    arguments = command[2:]
    preset = command_line.named_option(arguments, "--preset")
    return command_line.with_short_options(command_line.parse(arguments, load_preset(preset)))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_of_the_page_is_taken_as_written(command, capsys):
    assert command[:3] == ["python", "launch.py", "--local"]
    validate(config_of(command))
    assert launch.main([*command[2:], "--print-config"]) == 0
    shown = capsys.readouterr().out
    assert "command line" in shown
    if "--cluster.learner-device" in command:
        rows = [line.split() for line in shown.splitlines()[-6:]]
        assert rows[:3] == [["learner-0", "cuda:1"], ["rank-1", "cuda:2"], ["rank-2", "cuda:3"]]
        assert all(device == "cuda:0" for _, device in rows[3:])


def test_every_option_of_the_table_is_in_the_commands():
    table = PAGE.read_text().partition("| flag there")[2].partition("\n\n")[0]
    options = [option for row in table.splitlines() for option in row.split("|")[2:3]]
    named = {word for text in options for word in re.findall(r"--[a-z][a-z0-9.-]*", text)}
    given = {word for command in (WITHOUT_SEARCH, WITH_SEARCH) for word in command}
    assert len(named) >= 16 and named <= given


def test_the_commands_make_the_agents_that_the_page_describes():
    without, with_search = config_of(WITHOUT_SEARCH), config_of(WITH_SEARCH)
    assert (without.search.num_simulations, without.agent.num_unroll_steps) == (0, 0)
    assert with_search.search.num_simulations == 50
    assert (with_search.search.pb_c_init, with_search.search.prior) == (0.25, "action_values")
    for config in (without, with_search):
        assert config.agent.value_function == "action"
        assert [role_device(config.cluster, "learner", rank) for rank in range(3)] == [
            "cuda:1",
            "cuda:2",
            "cuda:3",
        ]
