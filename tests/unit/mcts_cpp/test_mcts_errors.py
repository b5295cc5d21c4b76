"""What `mcts_cpp` refuses: it names the argument, says got and wanted, and changes nothing."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from mcts_cpp import SearchParams, TreeBatch
from tests.support.cases.mcts_cases import Case, expand_roots, leaf_buffers, make_batch

F32 = np.float32


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("discount", -0.1),
        ("discount", 1.1),
        ("discount", math.nan),
        ("pb_c_init", -1.0),
        ("pb_c_base", 0.0),
        ("value_delta_max", 0.0),
        ("value_prefix_horizon", 0),
        ("root_exploration_fraction", 1.5),
        ("unvisited_q", "best"),
        ("known_q_bounds", (1.0, 0.0)),
        ("known_q_bounds", (0.0, math.nan)),
        ("root_dirichlet_alpha", 0.0),
        ("num_players", 3),
        ("algorithm", "alpha-beta"),
        ("max_considered_actions", 0),
        ("maxvisit_init", -1.0),
        ("value_scale", math.nan),
        ("gumbel_scale", -1.0),
    ],
)
def test_coefficients_out_of_range_are_refused(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"{field}: got .*, wanted"):
        SearchParams(**{"discount": 0.9, field: value})


def test_value_prefixes_of_two_players_are_refused() -> None:
    with pytest.raises(ValueError, match="use_value_prefix: got true with num_players 2"):
        SearchParams(discount=0.9, num_players=2)


@pytest.mark.parametrize(
    "oddity",
    [
        {"root_visit_has_value": False},
        {"exploration_counts_expansion": False},
        {"recomputed_bounds": True},
        {"stale_prefix_bounds": True},
    ],
)
def test_the_originals_oddities_are_refused_with_gumbel(oddity: dict[str, bool]) -> None:
    with pytest.raises(ValueError, match="got a change with algorithm gumbel, wanted puct"):
        SearchParams(discount=0.9, algorithm="gumbel", **oddity)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((0, 2, 1), "num_trees: got 0"),
        ((1, 0, 1), "num_actions: got 0"),
        ((1, 1025, 1), "num_actions: got 1025"),
        ((1, 2, 0), "num_simulations: got 0"),
        ((1, 2, 32767), "num_simulations: got 32767"),
        ((1, 2, -5), "num_simulations: got -5"),
    ],
)
def test_sizes_out_of_range_are_refused(sizes: tuple[int, int, int], message: str) -> None:
    seeds = np.zeros(max(sizes[0], 0), dtype=np.uint64)
    with pytest.raises(ValueError, match=message):
        TreeBatch(*sizes, SearchParams(discount=0.9), seeds)


def with_number(shape: tuple[int, ...], number: float) -> NDArray[np.float32]:
    """Return zeros with one number at the end."""
    array = np.zeros(shape, dtype=F32)
    array.flat[-1] = number
    return array


GOOD_LOGITS = np.zeros((3, 6), dtype=F32)
GOOD_VALUES = np.zeros(3, dtype=F32)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((GOOD_LOGITS[:, :5].copy(), GOOD_VALUES), r"policy_logits: got float32 \[3, 5\]"),
        ((GOOD_LOGITS.astype(np.float64), GOOD_VALUES), "policy_logits: got float64"),
        ((np.zeros((3, 12), dtype=F32)[:, ::2], GOOD_VALUES), "policy_logits: got a strided"),
        ((with_number((3, 6), math.nan), GOOD_VALUES), "policy_logits: got nan at flat index 17"),
        ((with_number((3, 6), -math.inf), GOOD_VALUES), "policy_logits: got -inf"),
        ((GOOD_LOGITS, with_number((3,), math.inf)), "values: got inf"),
        ((GOOD_LOGITS, with_number((3,), 1e30)), "values: got 1e.30"),
        ((GOOD_LOGITS, GOOD_VALUES[:2]), r"values: got float32 \[2\], wanted float32 \[3\]"),
        ((GOOD_LOGITS, GOOD_VALUES, GOOD_LOGITS), "noise: got 0 for all legal actions of row 0"),
        ((GOOD_LOGITS, GOOD_VALUES, with_number((3, 6), -1)), "noise: got -1"),
        ((GOOD_LOGITS, GOOD_VALUES, None, GOOD_LOGITS), "legal_actions: got float32"),
        (
            (GOOD_LOGITS, GOOD_VALUES, None, np.eye(3, 6, 1, dtype=np.bool_) & False),
            "legal_actions: got none in row 0",
        ),
    ],
)
def test_bad_root_arrays_are_refused(arguments: tuple[NDArray, ...], message: str) -> None:
    batch = make_batch(Case())
    with pytest.raises(ValueError, match=message):
        batch.expand_roots(*arguments)


def test_to_play_is_for_two_players_and_0_or_1() -> None:
    zeros = np.zeros(3, dtype=np.int32)
    with pytest.raises(ValueError, match="to_play: got an array with num_players 1"):
        make_batch(Case()).expand_roots(GOOD_LOGITS, GOOD_VALUES, to_play=zeros)
    params = SearchParams(discount=0.9, num_players=2, use_value_prefix=False)
    batch = TreeBatch(3, 6, 1, params, np.zeros(3, dtype=np.uint64))
    with pytest.raises(ValueError, match="to_play: got 2 in row 0, wanted 0 or 1"):
        batch.expand_roots(GOOD_LOGITS, GOOD_VALUES, to_play=zeros + 2)


def test_given_and_drawn_noise_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="noise: got an array with draw_noise"):
        make_batch(Case()).expand_roots(GOOD_LOGITS, GOOD_VALUES, GOOD_LOGITS, draw_noise=True)


def test_a_refused_backup_changes_nothing() -> None:
    case = Case(num_simulations=2)
    batch = make_batch(case)
    expand_roots(case, batch)
    batch.select_leaves(*leaf_buffers(case))
    with pytest.raises(ValueError, match="value_prefixes: got nan at flat index 2"):
        batch.backup(with_number((3,), math.nan), GOOD_VALUES, GOOD_LOGITS)
    with pytest.raises(ValueError, match="values: got nan"):
        batch.backup(GOOD_VALUES, with_number((3,), math.nan), GOOD_LOGITS)
    with pytest.raises(ValueError, match="policy_logits: got nan"):
        batch.backup(GOOD_VALUES, GOOD_VALUES, with_number((3, 6), math.nan))
    assert batch.num_simulations_done == 0
    batch.backup(GOOD_VALUES, GOOD_VALUES, GOOD_LOGITS)
    assert batch.num_simulations_done == 1


def test_calls_out_of_order_are_refused() -> None:
    case = Case(num_simulations=1)
    batch = make_batch(case)
    buffers = leaf_buffers(case)
    with pytest.raises(ValueError, match="wanted expand_roots first"):
        batch.select_leaves(*buffers)
    with pytest.raises(ValueError, match="wanted expand_roots first"):
        batch.root_values(np.zeros(3, dtype=F32))
    expand_roots(case, batch)
    with pytest.raises(ValueError, match="wanted select_leaves first"):
        batch.backup(GOOD_VALUES, GOOD_VALUES, GOOD_LOGITS)
    batch.select_leaves(*buffers)
    with pytest.raises(ValueError, match="wanted backup first"):
        batch.select_leaves(*buffers)
    batch.backup(GOOD_VALUES, GOOD_VALUES, GOOD_LOGITS)
    with pytest.raises(ValueError, match="got simulation 2, wanted at most 1"):
        batch.select_leaves(*buffers)


def test_bad_output_buffers_are_refused() -> None:
    case = Case()
    batch = make_batch(case)
    expand_roots(case, batch)
    frozen = np.zeros(3, dtype=F32)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="out: got a read-only array"):
        batch.root_values(frozen)
    with pytest.raises(ValueError, match="out: got int64"):
        batch.visit_counts(np.zeros((3, 6), dtype=np.int64))
    with pytest.raises(ValueError, match="unaligned"):
        batch.root_values(np.zeros(13, dtype=np.uint8)[1:].view(F32))
    with pytest.raises(TypeError):
        batch.root_values([0.0, 0.0, 0.0])
    with pytest.raises(ValueError, match=r"seeds: got int64 \[3\], wanted uint64 \[3\]"):
        batch.reset(np.zeros(3, dtype=np.int64))
