"""``launch.py match``: saved weights against fixed opponents and against each other."""

import dataclasses
import json

import pytest
import torch

pytest.importorskip("pyspiel", reason="make setup-games installs it")

from actor.tools.match import main
from efficientzero.config import load_preset
from efficientzero.networks import make_network
from efficientzero.runs.checkpoint import save_checkpoint
from tests.support.fakes import tiny_config, tiny_run


def make_run(directory, config, *, seed=0, has_checkpoint=True):
    directory.mkdir()
    run = tiny_run(directory, config)
    run.save()
    if has_checkpoint:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = make_network(run.config, run.env_spec, training=False)
        state = {"train_step": 10 + seed, "network": network.state_dict()}
        save_checkpoint(directory / "checkpoints", 10 + seed, state, keep=2)
    return str(directory)


@pytest.fixture(scope="module")
def config():
    """Return tic-tac-toe's, with a small network that is not uniform and few simulations."""
    preset = load_preset("tictactoe")
    return dataclasses.replace(
        preset,
        network=dataclasses.replace(
            preset.network, mlp_latent_size=16, mlp_hidden_size=16, zero_init_heads=False
        ),
        search=dataclasses.replace(preset.search, num_simulations=4),
    )


def result_of(capsys, *arguments):
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_untrained_weights_never_win_against_perfect_play(tmp_path, config, capsys):
    run = make_run(tmp_path / "a", config)
    found = result_of(capsys, run, "minimax", "--games", "10")
    assert found["train_steps"] == [10, None]
    assert (found["games"], found["wins"], found["opening_plies"]) == (10, 0, 0)
    for count in ("games", "wins", "draws", "losses"):
        assert found["moves_first"][count] + found["moves_second"][count] == found[count]
    assert found["moves_first"]["games"] == 5
    assert found["interval"][0] <= found["score"] <= found["interval"][1]
    assert found["score"] == pytest.approx((found["wins"] + found["draws"] / 2) / 10)
    assert main([run, "random", "--games", "4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("a (train_step 10) against random, OpenSpiel/tic_tac_toe: score ")
    assert [line.split("  ")[1].strip() for line in lines[1:]] == [
        "all games",
        "moving first",
        "moving second",
    ]


def test_two_runs_play_the_same_beginnings_in_both_seats(tmp_path, config, capsys):
    one, other = make_run(tmp_path / "a", config), make_run(tmp_path / "b", config, seed=1)
    found = result_of(capsys, one, other, "--games", "12")
    back = result_of(capsys, other, one, "--games", "12")
    assert found["train_steps"] == back["train_steps"][::-1] == [10, 11]
    assert found["opening_plies"] == 2
    # The same games, seen from the other side.
    assert (found["wins"], found["draws"]) == (back["losses"], back["draws"])
    assert found["moves_first"]["wins"] == back["moves_second"]["losses"]


def test_a_wrong_match_is_one_line(tmp_path, config, capsys):
    run = make_run(tmp_path / "a", config)
    alone = make_run(tmp_path / "catch", tiny_config())
    bare = make_run(tmp_path / "bare", config, has_checkpoint=False)
    for arguments, message in (
        ((run, "random", "--games", "3"), "--games: got 3, wanted an even number from 2"),
        ((run, "nobody"), "got 'nobody', wanted a run's folder"),
        ((alone, "random"), "got Catch-v0, wanted a game of two players"),
        ((bare, "random"), "no checkpoint"),
    ):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith("launch.py match: error: ")
        assert message in error
        assert error.count("\n") == 1
