"""Games of OpenSpiel and PettingZoo as ``TurnGame``, and one of them as an environment."""

import sys

import numpy as np
import pytest

from efficientzero.config import EnvConfig, load_preset, preset_of_env
from efficientzero.envs import probe_env_spec
from efficientzero.envs.factory import import_env, make_env
from efficientzero.envs.games import make_turn_game

TRANSPOSED = [3 * (cell % 3) + cell // 3 for cell in range(9)]
"""PettingZoo numbers the cells of tic-tac-toe by columns, OpenSpiel by rows: one board mirrored."""


@pytest.fixture(autouse=True)
def _extra():
    pytest.importorskip("pyspiel", reason="make setup-games installs it")
    pytest.importorskip("pettingzoo", reason="make setup-games installs it")


def random_move(game, rng):
    return int(rng.choice(np.flatnonzero(game.legal_actions())))


def test_two_libraries_agree_on_a_thousand_random_games():
    spiel, zoo = (
        make_turn_game(id_) for id_ in ("OpenSpiel/tic_tac_toe", "PettingZoo/tictactoe_v3")
    )
    rng, winners = np.random.default_rng(0), set()
    for _ in range(1_000):
        spiel.reset()
        zoo.reset()
        while not spiel.is_over():
            assert not zoo.is_over()
            assert spiel.to_play() == zoo.to_play()
            np.testing.assert_array_equal(spiel.legal_actions()[TRANSPOSED], zoo.legal_actions())
            move = random_move(spiel, rng)
            mover, reward = spiel.to_play(), spiel.play(move)
            assert zoo.play(TRANSPOSED.index(move)) == reward
        assert zoo.is_over()
        assert not spiel.legal_actions().any()
        assert not zoo.legal_actions().any()
        winners.add((mover, reward))
    assert winners == {(0, 1.0), (1, 1.0), (0, 0.0)}


@pytest.mark.parametrize(
    ("env_id", "frame_shape", "num_actions"),
    [
        ("OpenSpiel/tic_tac_toe", (4, 3, 3), 9),
        ("OpenSpiel/connect_four", (4, 6, 7), 7),
        ("OpenSpiel/hex(board_size=5)", (10, 5, 5), 25),
        ("OpenSpiel/nim", (40,), 29),
        ("PettingZoo/tictactoe_v3", (2, 3, 3), 9),
        ("PettingZoo/connect_four_v3", (2, 6, 7), 7),
    ],
)
def test_environment_plays_as_its_library(env_id, frame_shape, num_actions):
    env, rng = (
        make_env(EnvConfig(id=env_id), seed=3, training=True, max_episode_steps=0),
        (np.random.default_rng(1)),
    )
    assert (env.frame_shape, env.num_actions, env.num_players) == (frame_shape, num_actions, 2)
    for _ in range(20):
        frame, over, players = env.reset(), False, []
        while not over:
            assert frame.shape == frame_shape
            assert frame.dtype == env.frame_dtype
            assert env.legal_actions.any()
            players.append(env.to_play)
            action = int(rng.choice(np.flatnonzero(env.legal_actions)))
            frame, reward, terminated, truncated, over = env.step(action)
            assert over == terminated and not truncated
        assert players == [number % 2 for number in range(len(players))]
        assert env.to_play == 1 - players[-1], "who would be next"
        assert reward in (-1.0, 0.0, 1.0)


def test_frames_of_open_spiel_say_whose_move_it_is():
    game = make_turn_game("OpenSpiel/tic_tac_toe")
    assert (game.observation()[-1] == 0).all()
    game.play(4)
    frame = game.observation()
    assert (frame[-1] == 255).all()
    # Planes of empty cells, player 1's and player 0's.
    assert [int((plane > 0).sum()) for plane in frame[:-1]] == [8, 0, 1]
    assert frame[2, 1, 1] == 255


def test_frames_of_pettingzoo_are_the_movers():
    game = make_turn_game("PettingZoo/tictactoe_v3")
    game.play(4)
    own, others = game.observation()
    assert (int((own > 0).sum()), int((others > 0).sum())) == (0, 1)


@pytest.mark.parametrize("env_id", ["OpenSpiel/connect_four", "PettingZoo/tictactoe_v3"])
def test_a_copy_is_another_game(env_id):
    game = make_turn_game(env_id)
    game.play(0)
    twin, before = game.copy(), game.observation()
    twin.play(1)
    np.testing.assert_array_equal(game.observation(), before)
    assert (game.to_play(), twin.to_play()) == (1, 0)


def test_a_time_limit_truncates():
    env = make_env(
        EnvConfig(id="OpenSpiel/connect_four"), seed=0, training=True, max_episode_steps=2
    )
    assert env.time_limit == 2
    env.reset()
    assert not env.step(0).game_over
    last = env.step(0)
    assert (last.terminated, last.truncated, last.game_over) == (False, True, True)


@pytest.mark.parametrize(
    ("env_id", "words"),
    [
        ("OpenSpiel/konnect_four", "no such game; try OpenSpiel/connect_four"),
        ("OpenSpiel/hex(sides=5)", "Unknown parameter 'sides'"),
        ("OpenSpiel/backgammon", "chance_mode: got EXPLICIT_STOCHASTIC, wanted DETERMINISTIC"),
        ("OpenSpiel/phantom_ttt", "information: got IMPERFECT_INFORMATION, wanted PERFECT"),
        ("OpenSpiel/matrix_rps", "dynamics: got SIMULTANEOUS, wanted SEQUENTIAL: moves must"),
        ("OpenSpiel/solitaire", "players: got 1, wanted 2"),
        ("PettingZoo/leduc_holdem_v4", "not one of PettingZoo's games of two players"),
        ("PettingZoo/connect_four", "try PettingZoo/connect_four_v3"),
    ],
)
def test_refused_in_one_line(env_id, words):
    with pytest.raises(ValueError) as caught:
        probe_env_spec(EnvConfig(id=env_id))
    assert str(caught.value).startswith(f"env.id={env_id}: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_game_in_which_a_player_moves_twice_is_refused_when_it_does():
    from efficientzero.envs.trial import try_env

    with pytest.raises(ValueError, match=r"dots_and_boxes: step \d+ .*: moves must alternate"):
        try_env(EnvConfig(id="OpenSpiel/dots_and_boxes"))


def test_constructor_arguments_are_refused():
    with pytest.raises(ValueError, match="kwargs: got board_size, wanted none"):
        probe_env_spec(EnvConfig(id="OpenSpiel/hex", kwargs={"board_size": 5}))


@pytest.mark.parametrize(
    ("env_id", "module"),
    [("OpenSpiel/tic_tac_toe", "pyspiel"), ("PettingZoo/tictactoe_v3", "pettingzoo")],
)
def test_a_missing_library_is_named_with_the_command(monkeypatch, env_id, module):
    for name in [name for name in sys.modules if name.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)

    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=f"cannot import {module}.*; install it: make setup-games"):
        import_env(EnvConfig(id=env_id))


def test_presets_of_games():
    assert preset_of_env("OpenSpiel/tic_tac_toe") == "tictactoe"
    assert preset_of_env("PettingZoo/tictactoe_v3") == "tictactoe"
    assert preset_of_env("OpenSpiel/connect_four") == "connectfour"
    assert preset_of_env("OpenSpiel/hex(board_size=5)") == "connectfour"
    assert load_preset("tictactoe").league.baselines == ("minimax", "random")
