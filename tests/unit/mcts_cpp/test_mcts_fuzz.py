"""Whatever Python hands over, the binding answers with a search or an exception, never a crash.

Each example makes trees and then calls methods in any order with arrays that are right or wrong in
one of many ways. A crash ends the test run; so does a search that breaks a promise.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mcts_cpp import SearchParams, TreeBatch

REFUSALS = (ValueError, TypeError, OverflowError)
KINDS = (
    "good",
    "good",
    "good",
    "shape",
    "dtype",
    "strided",
    "nan",
    "inf",
    "huge",
    "frozen",
    "no array",
)


def spoiled(draw: st.DrawFn, array: NDArray[Any]) -> Any:
    """Return the array, or something like it that must be refused."""
    kind = draw(st.sampled_from(KINDS))
    is_float = array.dtype == np.float32
    if kind == "shape":
        return np.zeros(draw(st.lists(st.integers(0, 4), max_size=3)), array.dtype)
    if kind == "dtype":
        other = draw(st.sampled_from(["float64", "int64", "int8", "uint8", ">f4", "O", "S3"]))
        return np.zeros(array.shape, other)
    if kind == "strided":
        return np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)[..., ::2]
    if kind in {"nan", "inf", "huge"} and is_float and array.size:
        array.flat[-1] = {"nan": math.nan, "inf": -math.inf, "huge": 3e38}[kind]
    if kind == "frozen":
        array.flags.writeable = False
    if kind == "no array":
        return draw(st.sampled_from([None, 3, "x", [0.0], object(), b"abcd"]))
    return array


@st.composite
def calls(draw: st.DrawFn) -> list[tuple[str, list[Any], dict[str, Any]]]:
    """Draw sizes, a constructor's arguments and a list of calls."""
    size, actions, simulations = (draw(st.integers(1, 5)) for _ in range(3))

    def numbers(*shape: int) -> Any:
        values = draw(st.sampled_from([0.0, 1.0, -2.5, 1e20]))
        return spoiled(draw, np.full(shape, values, np.float32))

    def maybe(make: Callable[[], Any]) -> Any:
        return make() if draw(st.booleans()) else None

    legal = np.array(draw(st.lists(st.booleans(), min_size=actions, max_size=actions)))
    makers: dict[str, Callable[[], tuple[list[Any], dict[str, Any]]]] = {
        "reset": lambda: ([spoiled(draw, np.zeros(size, np.uint64))], {}),
        "expand_roots": lambda: (
            [numbers(size, actions), numbers(size)],
            {
                "noise": maybe(lambda: numbers(size, actions)),
                "legal_actions": maybe(lambda: spoiled(draw, np.tile(legal, (size, 1)))),
                "to_play": maybe(lambda: spoiled(draw, np.ones(size, np.int32))),
                "draw_noise": draw(st.booleans()),
                "reuse": draw(st.booleans()),
            },
        ),
        "select_leaves": lambda: (
            [spoiled(draw, np.zeros(size, kind)) for kind in (np.int32, np.int32, np.bool_)],
            {},
        ),
        "advance": lambda: (
            [
                spoiled(draw, np.full(size, draw(st.integers(-2, actions)), np.int32)),
                spoiled(draw, np.zeros((size, 3), np.int32)),
                spoiled(draw, np.zeros(size, np.int32)),
                maybe(lambda: spoiled(draw, np.tile(legal, (size, 1)))),
            ],
            {},
        ),
        "backup": lambda: ([numbers(size), numbers(size), numbers(size, actions)], {}),
        "visit_counts": lambda: ([spoiled(draw, np.zeros((size, actions), np.int32))], {}),
        "child_q": lambda: ([numbers(size, actions)], {}),
        "action_weights": lambda: ([numbers(size, actions)], {}),
        "best_actions": lambda: ([spoiled(draw, np.zeros(size, np.int32))], {}),
        "root_values": lambda: ([numbers(size)], {}),
        "search_depths": lambda: ([spoiled(draw, np.zeros(size, np.int32))], {}),
        "export_tree": lambda: ([draw(st.integers(-2, 6))], {}),
    }
    order = draw(st.lists(st.sampled_from(sorted(makers)), max_size=6))
    order = ["expand_roots", "select_leaves", "backup", "advance", *order] * draw(st.integers(1, 2))
    return [("sizes", [size, actions, simulations], {})] + [(n, *makers[n]()) for n in order]


def call_all(batch: TreeBatch, script: list[tuple[str, list[Any], dict[str, Any]]]) -> None:
    for name, arguments, keywords in script:
        done = batch.num_simulations_done
        try:
            getattr(batch, name)(*arguments, **keywords)
        except REFUSALS as error:
            assert "got" in str(error) or "incompatible" in str(error)
            assert batch.num_simulations_done == done


def fuzz(script: list[tuple[str, list[Any], dict[str, Any]]], algorithm: str, players: int) -> None:
    params = SearchParams(
        discount=0.9,
        algorithm=algorithm,
        num_players=players,
        use_value_prefix=players == 1,  # type: ignore[arg-type]
    )
    (_, sizes, _), *rest = script
    seeds = np.arange(sizes[0], dtype=np.uint64)
    call_all(TreeBatch(*sizes, params, seeds, max_reused_nodes=2), rest)


@settings(max_examples=150)
@given(calls(), st.sampled_from(["puct", "gumbel"]), st.integers(1, 2))
def test_any_calls_with_any_arrays_are_answered(script: Any, algorithm: str, players: int) -> None:
    fuzz(script, algorithm, players)


@pytest.mark.slow
@settings(max_examples=1500)
@given(calls(), st.sampled_from(["puct", "gumbel"]), st.integers(1, 2))
def test_many_more_calls_are_answered(script: Any, algorithm: str, players: int) -> None:
    fuzz(script, algorithm, players)


@settings(max_examples=200)
@given(
    sizes=st.tuples(*[st.integers(-(2**40), 2**40) | st.integers(-2, 3)] * 4),
    seeds=st.integers(0, 4),
)
def test_any_sizes_make_trees_or_are_refused(sizes: tuple[int, ...], seeds: int) -> None:
    *shape, num_threads = sizes
    try:
        batch = TreeBatch(
            *shape, SearchParams(discount=0.9), np.zeros(seeds, np.uint64), num_threads
        )
    except REFUSALS:
        return
    assert [batch.num_trees, batch.num_actions, batch.num_simulations] == shape


@settings(max_examples=200)
@given(
    st.fixed_dictionaries(
        {"discount": st.floats()},
        optional={
            "pb_c_init": st.floats(),
            "pb_c_base": st.floats(),
            "value_delta_max": st.floats(),
            "value_prefix_horizon": st.integers(-2, 2**33),
            "root_exploration_fraction": st.floats(),
            "algorithm": st.sampled_from(["puct", "gumbel", "", "\0"]),
            "unvisited_q": st.text(max_size=8),
            "known_q_bounds": st.none() | st.tuples(st.floats(), st.floats()),
            "root_dirichlet_alpha": st.floats(),
            "max_considered_actions": st.integers(-2, 2**33),
            "maxvisit_init": st.floats(),
            "value_scale": st.floats(),
            "gumbel_scale": st.floats(),
            "num_players": st.integers(-2, 4),
        },
    )
)
def test_coefficients_are_kept_or_refused(fields: dict[str, Any]) -> None:
    try:
        params = SearchParams(**fields)
    except REFUSALS:
        return
    assert all(getattr(params, name) == value for name, value in fields.items())


def test_extreme_coefficients_give_finite_weights() -> None:
    """The largest scales on the worst priors: what could overflow or lose every weight."""
    params = SearchParams(
        discount=1.0,
        algorithm="gumbel",
        maxvisit_init=1e6,
        value_scale=1e3,
        normalize_q=False,
        use_value_prefix=False,
    )
    trees = TreeBatch(1, 5, 40, params, np.zeros(1, np.uint64))
    logits = np.array([[0, -1e25, 1e25, -200, 3]], np.float32)
    numbers = np.random.default_rng(0)
    trees.expand_roots(logits, np.zeros(1, np.float32))
    buffers = np.zeros(1, np.int32), np.zeros(1, np.int32), np.zeros(1, np.bool_)
    for _ in range(40):
        trees.select_leaves(*buffers)
        assert 0 <= buffers[1][0] < 5
        value = (1e15 * numbers.normal(size=1)).astype(np.float32)
        trees.backup(value, value, logits)
    weights = np.zeros((1, 5), np.float32)
    trees.action_weights(weights)
    assert np.isfinite(weights).all()
    assert weights.sum() == pytest.approx(1)
