"""The command line: what it explains, what it refuses, and that it then starts nothing."""

import errno
import importlib
import re
import shlex
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import pytest

import launch
from deploy.checks.memory import replay_memory
from deploy.launching import command_line, plan, tokens
from deploy.launching.prepare import default_run_id, prepare
from deploy.supervising.local_run import Plan, advice_lines
from efficientzero.config.fields import Config, EnvConfig
from efficientzero.config.preset_files import load_preset
from efficientzero.runs.lease import take_lease
from efficientzero.runs.run_folder import RunInfo
from efficientzero.schema import EnvSpec

NOW = datetime(2024, 5, 6, 7, 8, 9)


def refused(capsys, *arguments: str) -> str:
    """Return the single line with which the launcher refuses ``arguments``."""
    assert launch.main(["--local", "--preset", "catch", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("launch.py: error: ")
    return line


def printed_config(capsys, *arguments: str) -> dict[str, tuple[str, str]]:
    """Return field -> (value, source) as --print-config shows them."""
    assert launch.main([*arguments, "--print-config"]) == 0
    rows = [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()]
    return {row[0]: (row[1], row[2]) for row in rows if len(row) == 3}


def test_print_config_shows_where_each_value_came_from(capsys):
    shown = printed_config(capsys, "--preset", "catch", "--search.num-simulations", "25")
    assert shown["search.num_simulations"] == ("25", "command line")
    assert shown["budget.env_steps"] == ("12000", "preset catch")
    assert shown["search.pb_c_init"] == ("1.25", "default")
    assert shown["preset"] == ("catch", "command line")


def test_value_named_on_the_command_line_counts_as_such_even_if_the_preset_has_it(capsys):
    shown = printed_config(capsys, "--preset=catch", "--search.num-simulations=8")
    assert shown["search.num_simulations"] == ("8", "command line")


def test_short_options_set_their_fields(capsys):
    shown = printed_config(
        capsys, "--env", "CartPole-v1", "--seed", "3", "--actors", "4", "--reanalyzers", "2"
    )
    assert shown["env.id"] == ("CartPole-v1", "command line")
    assert shown["seed"] == ("3", "command line")
    assert shown["cluster.num_actors"] == ("4", "command line")
    assert shown["cluster.num_reanalyzers"] == ("2", "command line")


def test_group_suffix_has_a_short_option(capsys):
    shown = printed_config(capsys, "--preset", "catch", "--group-suffix", "try-2")
    assert shown["tracking.group_suffix"] == ("try-2", "command line")


def test_seed_that_no_run_name_can_hold_is_refused(capsys):
    assert "seed" in refused(capsys, "--seed", str(2**64))


def test_entity_and_project_have_their_defaults_and_can_be_named(capsys):
    shown = printed_config(capsys, "--preset", "catch")
    assert shown["tracking.entity"] == ("stablegradients", "default")
    assert shown["tracking.project"] == ("MonteCarloTreeSearch", "default")
    shown = printed_config(capsys, "--preset", "catch", "--entity", "me", "--project", "Mine")
    assert shown["tracking.entity"] == ("me", "command line")
    assert shown["tracking.project"] == ("Mine", "command line")
    shown = printed_config(capsys, "--tracking.entity", "you", "--tracking.project", "Yours")
    assert shown["tracking.entity"] == ("you", "command line")
    assert shown["tracking.project"] == ("Yours", "command line")


def test_switch_can_be_turned_off(capsys):
    shown = printed_config(capsys, "--env.no-clip-rewards")
    assert shown["env.clip_rewards"] == ("False", "command line")


@pytest.mark.parametrize(
    ("named", "preset", "why"),
    [
        ((), "catch", "no usable CUDA device was found: a task of minutes"),
        (("--env", "ALE/Breakout-v5"), "atari-small", "no usable CUDA device was found"),
        (("--env.id=LunarLander-v3",), "atari-small", "start from --preset cartpole"),
        (("--env", "CartPole-v1"), "cartpole", "made for CartPole-v1"),
        (("--env", "Acrobot-v1"), "acrobot", "made for Acrobot-v1"),
        (("--env", "MinAtar/Freeway-v1"), "minatar", "made for MinAtar/Freeway-v1"),
        (("--env", "CartPole-v1", "--preset", "catch"), "catch", "as asked for"),
    ],
)
def test_machine_without_cuda_gets_a_preset_that_suits_the_task(monkeypatch, named, preset, why):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    choice = plan.choose_preset(["--local", *named])
    assert choice.preset == preset
    assert why in choice.why
    assert choice.is_first_try == (not named)


def test_machine_with_cuda_gets_the_reference(monkeypatch):
    monkeypatch.setattr(plan, "has_cuda_device", lambda: True)
    for named in ((), ("--env", "ALE/Breakout-v5")):
        choice = plan.choose_preset(["--local", *named])
        assert (choice.preset, choice.is_first_try) == ("atari100k", False)


def advised(run: RunInfo, exit_code: int, *, is_final: bool, **changed) -> dict[str, str]:
    summary = {"exit_code": exit_code, "eval_is_final": is_final}
    lease = take_lease(run.directory, "launcher", launch=run.num_resumes)
    rest = {"has_workers": True, "is_first_try": True, **changed}
    lines = advice_lines(Plan(run, [], ExitStack(), lease, **rest), summary)
    return [(line[:10].strip(), line[11:]) for line in lines]


def test_the_last_lines_name_how_a_stopped_run_goes_on_and_what_to_try_after_a_first_one(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    prepared = prepare(
        load_preset("catch"),
        run_id="x",
        runs_dir=tmp_path / "my runs",
        checkout=Path.cwd(),
        now=NOW,
    )
    run = prepared.run
    ((name, command),) = advised(run, 130, is_final=False)
    assert name == "resume"
    assert command.endswith("launch.py --local --resume 'my runs/x'")
    python, script, *_ = shlex.split(command)
    assert Path(script).is_file()
    assert shutil.which(python)
    assert "--serve --resume" in advised(run, 1, is_final=False, has_workers=False)[0][1]
    assert advised(run, 1, is_final=False)[0][1].endswith("'my runs/x' (once the cause is mended)")
    assert advised(run, 130, is_final=True) == []
    assert advised(run, 0, is_final=True, is_first_try=False) == []
    rows = advised(run, 0, is_final=True)
    assert {name for name, _ in rows} == {"try next"}
    assert "--local --preset cartpole" in rows[0][1]
    assert rows[-1][1].endswith("launch.py report 'my runs/x' --out report")
    assert dict(prepared.notes)["budget"] == (
        "12,000 env_steps, 2,450 train_steps (2,400 + 50: budget.train_steps + "
        "budget.last_train_steps)"
    )


def test_typo_names_the_nearest_option_and_exits_with_2(capsys):
    with pytest.raises(SystemExit) as exit_:
        launch.main(["--local", "--serch.num-simulations", "3"])
    assert exit_.value.code == 2
    assert "--search.num-simulations" in capsys.readouterr().err


@pytest.mark.parametrize("command", [(), ("ablate",)])
@pytest.mark.parametrize("given", [("--replay.num-shards", "1"), ("--replay.num_shards=2",)])
def test_an_option_of_an_earlier_version_says_why_it_is_gone(capsys, command, given):
    with pytest.raises(SystemExit) as end:
        launch.main([*command, "--preset", "catch", *given])
    assert end.value.code == 2
    name = " ".join(["launch.py", *command])
    assert capsys.readouterr().err == (
        f"{name}: error: --replay.num-shards: several replay services were removed, because one "
        "takes 64,000 env_steps/s\n"
    )


def test_help_shows_examples_and_every_part(capsys):
    with pytest.raises(SystemExit) as exit_:
        launch.main(["--help"])
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    assert "python launch.py --local" in text
    for option in ("--search.num-simulations", "--run-id", "--actors", "--env.atari.frame-skip"):
        assert option in text
    commands = re.findall(r"^ *python launch\.py ([a-z]+) +(\S.*)$", text, re.MULTILINE)
    assert commands == [(name, one.meaning) for name, one in launch.COMMANDS.items()]


@pytest.mark.parametrize("name", launch.COMMANDS)
def test_a_command_gets_the_rest_of_the_line_and_gives_the_exit_code(monkeypatch, name):
    module = importlib.import_module(launch.COMMANDS[name].module)
    monkeypatch.setattr(module, "main", lambda arguments: 40 + len(arguments))
    assert launch.main([name, "runs/x", "--help"]) == 42


def test_help_loads_no_torch_and_no_command():
    modules = {"torch", "wandb", "matplotlib", *(c.module for c in launch.COMMANDS.values())}
    code = f"import launch, sys; print({modules} & set(sys.modules)); launch.main(['--version'])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=180, check=True
    )
    assert done.stdout.splitlines()[0] == "set()"


def test_without_local_it_says_what_to_type(capsys):
    assert launch.main([]) == 2
    assert "python launch.py --local" in capsys.readouterr().err


def test_unknown_preset_names_the_nearest(capsys):
    assert launch.main(["--local", "--preset", "cartpol"]) == 2
    assert "'cartpole'" in capsys.readouterr().err


def test_unknown_environment_is_refused(capsys, tmp_path):
    assert "NoSuchGame" in refused(capsys, "--env", "NoSuchGame-v0", "--runs-dir", str(tmp_path))


def test_impossible_value_is_refused(capsys):
    line = refused(capsys, "--learner.batch-size", "0")
    assert "learner.batch_size: got 0" in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--actors", "2"), "cluster.num_actors: got 2, wanted 1"),
        (("--reanalyzers", "3"), "cluster.num_reanalyzers: got 3, wanted 1"),
        (("--cluster.device", "cuda"), "cluster.device: got cuda, wanted cpu or auto"),
        (("--cluster.actor-device", "cuda:1"), "cluster.actor_device: got 'cuda:1', wanted cpu or"),
        (("--cluster.threads-per-process", "2"), "cluster.threads_per_process: got 2, wanted 1"),
        (("--actor.pipeline", "on"), "actor.pipeline: got on, wanted off or auto"),
    ],
)
def test_deterministic_run_refuses_what_would_let_time_in(capsys, options, message):
    line = refused(capsys, "--deterministic", *options)
    assert message in line
    assert line.endswith("with cluster.deterministic")


def test_deterministic_run_says_what_it_costs_and_stays_on_the_cpu(tmp_path):
    options = command_line.parse(["--deterministic"], load_preset("catch"))
    config = command_line.with_short_options(options)
    assert config.cluster.deterministic
    prepared = prepare(config, run_id="x", runs_dir=tmp_path, checkout=Path.cwd(), now=NOW)
    notes = dict(prepared.notes)
    assert "take turns" in notes["order"]
    assert notes["device"] == "cpu (the run is deterministic)"


def test_taken_port_is_refused_and_names_the_option(capsys, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = str(taken.getsockname()[1])
        line = refused(capsys, "--cluster.learner-port", port, "--runs-dir", str(tmp_path))
    assert f"--cluster.learner-port: got {port}" in line
    assert list(tmp_path.iterdir()) == []


def test_unwritable_runs_dir_is_refused(capsys):
    assert "--runs-dir: cannot write to /proc/runs" in refused(capsys, "--runs-dir", "/proc/runs")


def test_runs_dir_that_is_a_file_is_refused(capsys, tmp_path):
    file = tmp_path / "file"
    file.touch()
    assert f"cannot write to {file}" in refused(capsys, "--runs-dir", str(file))


def test_run_folder_that_exists_is_refused_and_kept(capsys, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious").touch()
    line = refused(capsys, "--run-id", "mine", "--runs-dir", str(tmp_path))
    assert "--run-id" in line
    assert "exists already" in line
    assert (tmp_path / "mine" / "precious").exists()


def test_run_id_with_a_path_is_refused(capsys, tmp_path):
    assert "--run-id: got '../x'" in refused(
        capsys, "--run-id", "../x", "--runs-dir", str(tmp_path)
    )


def test_replay_larger_than_the_memory_is_refused(capsys, tmp_path):
    line = refused(
        capsys,
        *("--replay.capacity", str(10**12), "--budget.env-steps", str(10**12)),
        *("--runs-dir", str(tmp_path)),
    )
    assert "--replay.capacity" in line


def test_full_disk_is_one_line_and_leaves_no_folder(capsys, tmp_path, monkeypatch):
    def full(run: RunInfo) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(RunInfo, "save", full)
    line = refused(capsys, "--run-id", "x", "--runs-dir", str(tmp_path))
    assert "the disk is full" in line
    assert list(tmp_path.iterdir()) == []


def test_prepared_run_is_on_disk_with_addresses_that_differ(tmp_path):
    prepared = prepare(
        load_preset("catch"), run_id="", runs_dir=tmp_path, checkout=Path.cwd(), now=NOW
    )
    run = prepared.run
    assert RunInfo.load(run.config_path) == run
    assert run.run_id == "Catch-v0-catch-s0-20240506-070809"
    assert run.replay_address != run.learner_address
    assert (run.directory / "logs").is_dir()
    assert {"run", "group", "env", "device", "addresses", "logs", "wandb"} <= dict(
        prepared.notes
    ).keys()


def test_group_names_preset_and_what_differs_from_it(tmp_path):
    arguments = ["--preset", "catch", "--search.num-simulations", "25", "--seed", "3"]
    config = command_line.parse(arguments, load_preset("catch")).config
    run = prepare(config, run_id="x", runs_dir=tmp_path, checkout=Path.cwd(), now=NOW).run
    assert run.group == "Catch-v0_catch_num_simulations=25"


def test_default_name_is_safe_as_a_folder():
    config = Config(seed=5, env=EnvConfig(id="ALE/Pong-v5"))
    assert default_run_id(config, NOW) == "ALE-Pong-v5-atari100k-s5-20240506-070809"


def test_replay_estimate_meets_the_measured_size():
    spec = EnvSpec(
        env_id="x",
        frame_shape=(3, 96, 96),
        frame_dtype="uint8",
        num_actions=6,
        num_stacked_frames=4,
    )
    measured = 1635  # bytes per transition, 12,000 real frames of five games (benchmarks/README.md)
    memory = replay_memory(Config(), spec)
    assert memory.per_transition == pytest.approx(measured, rel=0.05)
    assert memory.transitions == 100_000  # the budget: less than the capacity
    assert memory.most_per_transition > 31_135  # random frames, measured


def test_tokens_that_cannot_be_written_are_one_line(tmp_path, monkeypatch, capsys):
    def refused(folder):
        raise OSError(28, "No space left on device", str(folder / "credentials"))

    monkeypatch.delenv("EFFICIENTZERO_CREDENTIALS", raising=False)
    monkeypatch.setattr(tokens, "make_local_credentials", refused)
    arguments = ["--prepare", "--run-id", "x", "--preset", "catch", "--runs-dir", str(tmp_path)]
    assert launch.main([*arguments, "--tracking.mode", "disabled"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("x/credentials: cannot write the run's tokens (the disk is full)")
