"""The environment's trial in a process of its own, and what the launcher makes of it."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import launch
from deploy.ablate import __main__ as ablate
from deploy.checks import env_trial
from deploy.checks.env_trial import check_rewards, env_facts, env_notes
from deploy.checks.preflight import PreflightError
from deploy.launching import command_line
from deploy.launching.config_checks import check_same_experiment
from deploy.launching.env_kwargs import join_kwargs, kwarg_text, parse_kwargs
from deploy.supervising.child import CHECKOUT, with_import_path
from efficientzero.config.fields import EnvConfig
from efficientzero.config.files import (
    ConfigError,
    config_from_dict,
    config_hash,
    config_to_dict,
)
from efficientzero.config.preset_files import load_preset
from efficientzero.config.validation import validate
from efficientzero.schema import EnvFacts, EnvSpec

MODULE = """
import os, subprocess, time
import gymnasium as gym
from gymnasium.envs.classic_control.cartpole import CartPoleEnv

HERE = os.getcwd()

class E(CartPoleEnv):
    def __init__(self, manner="good"):
        print("Hello from the simulator")
        if manner == "hangs":
            time.sleep(600)
        if manner == "ends":
            os._exit(0)
        if manner == "starts":
            simulator = subprocess.Popen(["sleep", "600"], start_new_session=True)
            open("pid", "w").write(str(simulator.pid))
        if manner == "file":
            open("levels.txt").close()
        super().__init__()

gym.register(id="Mine-v0", entry_point=E)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "tried_env.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", ".")
    monkeypatch.setattr(env_trial, "_known", {})
    return tmp_path


def mine(**kwargs):
    return EnvConfig(id="tried_env:Mine-v0", num_stacked_frames=1, kwargs=kwargs)


def test_the_environment_is_found_where_the_launcher_was_started(folder):
    (folder / "levels.txt").touch()
    facts = env_facts(mine(manner="file"), limit_s=300.0)
    assert (facts.spec.frame_shape, facts.spec.num_actions) == ((4,), 2)
    assert facts.time_limit == 0


def test_an_environment_whose_file_is_missing_is_one_line_and_exit_code_2(folder, capsys):
    options = ("--env", "tried_env:Mine-v0", "--env.kwargs", "manner=file")
    assert launch.main(["--local", "--preset", "cartpole", *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "env.id=tried_env:Mine-v0: its constructor raised FileNotFoundError" in line
    assert "levels.txt" in line


def test_a_simulator_in_another_session_is_ended(folder):
    env_facts(mine(manner="starts"), limit_s=300.0)
    pid, deadline = int((folder / "pid").read_text()), time.monotonic() + 60.0
    while b"sleep" in command_of(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def command_of(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()  # empty where it has ended
    except OSError:
        return b""


@pytest.mark.parametrize(
    ("manner", "limit_s", "message"),
    [
        (
            "hangs",
            4.0,
            "its (constructor|import) did not end; .* 4 s .*--cluster.env-check-seconds",
        ),
        ("ends", 300.0, "its process ended with code 0 in its constructor: Hello from the"),
    ],
)
@pytest.mark.slow
def test_an_environment_that_does_not_answer_is_one_line(folder, manner, limit_s, message):
    with pytest.raises(PreflightError, match=f"env.id=tried_env:Mine-v0: {message}"):
        env_facts(mine(manner=manner), limit_s=limit_s)


def test_roles_find_what_the_launcher_finds_and_nothing_takes_their_place(folder):
    (folder / "actor.py").write_text("raise SystemExit('the wrong actor')")
    code = "import actor, json, sys, tried_env; print(json.dumps([actor.__file__, tried_env.HERE]))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env=with_import_path(os.environ),
        capture_output=True,
        check=True,
        text=True,
    )
    where, working_directory = json.loads(done.stdout)
    assert where == str(CHECKOUT / "actor" / "__init__.py")
    assert working_directory == str(folder)


@pytest.mark.parametrize("given", [None, ""])
def test_without_a_path_of_the_users_the_checkout_alone_is_on_it(given):
    base = {} if given is None else {"PYTHONPATH": given}
    assert with_import_path(base)["PYTHONPATH"] == str(CHECKOUT)


def test_kwargs_have_types():
    words = [
        "a=1",
        "b=-2.5",
        "c=true",
        "d=False",
        "e=hard",
        'f="8"',
        "g=x=y",
        "h=",
        "i=1e5",
        "j=nan",
    ]
    assert parse_kwargs(words) == {
        **{"a": 1, "b": -2.5, "c": True, "d": False, "e": "hard", "f": "8", "g": "x=y", "h": ""},
        **{"i": 1e5, "j": "nan"},
    }
    for wrong, message in ((["a"], "wanted KEY=VALUE"), (["a=1", "a=2"], "got a twice")):
        with pytest.raises(ValueError, match=message):
            parse_kwargs(wrong)


TWICE = ["--env.kwargs", "a=1", "--seed", "3", "--env.kwargs=b=2", "--env.kwargs", "c=x", "d="]


def test_arguments_of_several_options_are_all_taken():
    wanted = {"a": 1, "b": 2, "c": "x", "d": ""}
    config = command_line.parse(TWICE, load_preset("cartpole")).config
    assert (config.env.kwargs, config.seed) == (wanted, 3)
    options, _ = ablate.parse(["--preset", "cartpole", *TWICE])
    assert options.config.env.kwargs == wanted
    once = ["--env.kwargs=a=1", "GRID.toml"]
    assert join_kwargs(once) == once
    assert join_kwargs([*once, *once]) == [*once[1:] * 2, "--env.kwargs", "a=1", "a=1"]


def test_an_argument_in_two_options_is_one_line_and_exit_code_2(capsys):
    with pytest.raises(SystemExit) as end:
        launch.main(["--local", "--env.kwargs", "a=1", "--env.kwargs", "a=2"])
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "got a twice" in line


@pytest.mark.parametrize(
    "value", [True, False, 3, -1, 0.5, 1e300, "x", "true", "1", '"', '"a"', "", "a b", "nan"]
)
def test_a_written_argument_is_read_as_it_was(value):
    read = parse_kwargs([kwarg_text("k", value)])["k"]
    assert (type(read), read) == (type(value), value)


def with_kwargs(**kwargs):
    config = load_preset("cartpole")
    return dataclasses.replace(config, env=dataclasses.replace(config.env, kwargs=kwargs))


def test_arguments_are_part_of_the_experiment_and_none_are_not():
    assert config_hash(with_kwargs()) == config_hash(load_preset("cartpole"))
    hashes = {config_hash(with_kwargs(size=size)) for size in (1, 2, "1")}
    assert len(hashes | {config_hash(with_kwargs())}) == 4
    with pytest.raises(PreflightError, match=r"--env.kwargs.size: got none, but .* with 4"):
        check_same_experiment(with_kwargs(size=4), with_kwargs(), "--resume")
    with pytest.raises(PreflightError, match=r"--env.kwargs.size: got 4, but .* with none"):
        check_same_experiment(with_kwargs(), with_kwargs(size=4), "--resume")


def test_arguments_survive_the_run_folder():
    config = with_kwargs(size=-4, mode="hard", wide=True, rate=0.5)
    assert config_from_dict(json.loads(json.dumps(config_to_dict(config)))) == config
    validate(config)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"a-b": 1}, "got 'a-b', wanted the name of an argument"),
        ({"max_episode_steps": 9}, "env.max_episode_steps is the time limit"),
        ({"a": float("nan")}, "got a=nan, wanted a finite number"),
    ],
)
def test_what_can_be_no_argument_is_refused(kwargs, message):
    with pytest.raises(ConfigError, match=message):
        validate(with_kwargs(**kwargs))


def facts_of(**values):
    spec = EnvSpec(
        env_id="X-v0",
        frame_shape=(1, 8, 9),
        frame_dtype="uint8",
        num_actions=3,
        num_stacked_frames=1,
        has_legal_actions=values.pop("has_legal_actions", False),
    )
    given = {
        **{"time_limit": 9, "largest_pixel": 255},
        **{"largest_reward": 1.0, "mean_reward": 1.0},
    }
    return EnvFacts(spec=spec, **{**given, **values})


@pytest.mark.parametrize(
    ("values", "name", "text"),
    [
        ({"time_limit": 0}, "limit", "X-v0 declares no time limit: evaluation's episodes"),
        ({"has_legal_actions": True}, "actions", "X-v0 says which actions are legal, and no other"),
        ({"largest_reward": 1e6}, "rewards", "support_bound 30 cannot express that much"),
        ({"largest_pixel": 10}, "pixels", "at most 10 of 255"),
        ({"crash": "it fell"}, "crash", "in a first trial, not in a second: it fell"),
    ],
)
def test_what_a_person_should_know_is_said_once_and_nothing_else(values, name, text):
    config = load_preset("cartpole")
    looks = ("env", "X-v0: images of 8 x 9, 1 channels, 3 actions")
    assert env_notes(config, facts_of()) == [looks]
    first, second = env_notes(config, facts_of(**values))
    assert first == looks
    assert second[0] == name
    assert text in second[1]


def test_a_configured_time_limit_needs_no_note():
    config = load_preset("cartpole")
    env = dataclasses.replace(config.env, max_episode_steps=7, final_eval_max_episode_steps=7)
    notes = env_notes(dataclasses.replace(config, env=env), facts_of(time_limit=0))
    assert [name for name, _ in notes] == ["env"]


def test_rewards_that_the_network_cannot_express_are_refused():
    config, facts = load_preset("cartpole"), facts_of(largest_reward=1e6, mean_reward=1e6)
    with pytest.raises(PreflightError, match=r"rewards are 1e\+06 in the mean.*support_bound 30"):
        check_rewards(config, facts)
    clipped = dataclasses.replace(config.env, clip_rewards=True)
    check_rewards(dataclasses.replace(config, env=clipped), facts)
    numbers = dataclasses.replace(config.network, categorical_values=False)
    check_rewards(dataclasses.replace(config, network=numbers), facts)
