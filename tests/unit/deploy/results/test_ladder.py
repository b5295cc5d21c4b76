"""The ladder of a run with a pool, in words and from its folder."""

import json

import pytest

from deploy.results.ladder import ladder_lines, saved_ladder

PLACES = [
    {"name": "random", "rating": 0.0, "half_width": 0.0, "games": 8, "win_estimate": 0.5},
    {"name": "member_0", "rating": 0.0, "half_width": 0.0, "games": 0, "win_estimate": 0.9},
    {
        "name": "member_1000",
        "rating": 591.6,
        "half_width": 378.3,
        "games": 20,
        "win_estimate": 0.25,
    },
]


def test_the_strongest_comes_first_and_who_has_no_games_last():
    assert ladder_lines(PLACES)[1:] == [
        "  member_1000     +592 +-  378      20 games  0.25",
        "  random            +0 +-    0       8 games  0.50",
        "  member_0       not rated yet       0 games  0.90",
    ]
    assert ladder_lines([]) == []


def test_a_run_without_a_pool_has_none_and_a_damaged_file_is_an_error(tmp_path):
    assert saved_ladder(tmp_path) == []
    path = tmp_path / "league" / "league.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"ladder": PLACES}))
    assert saved_ladder(tmp_path) == PLACES
    for damaged in ("{", "{}", '{"ladder": [{"name": "random"}]}'):
        path.write_text(damaged)
        with pytest.raises(ValueError, match=r"league.json: not readable: "):
            saved_ladder(tmp_path)
