"""The played action's subtree as the next tree: equal to the reference, and its promises."""

from dataclasses import asdict, replace
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mcts_cpp import SearchParams, TreeBatch
from tests.reference.reference_gumbel import ReferenceGumbelSearch
from tests.reference.reference_mcts import ReferenceParams, ReferenceSearch, RootNoise
from tests.reference.reference_reuse import advance
from tests.support.cases.mcts_cases import (
    Case,
    cases,
    leaf_buffers,
    make_batch,
    network,
    root_arrays,
    run_search,
    seeds_of,
    to_play_of,
)

F32 = np.float32


class Move(NamedTuple):
    """What one search of a game gave; all [B, ...]."""

    leaves: NDArray[np.int32]  # [M, B, 4] parent node, action, resets_prefix, new node
    visits: NDArray[np.int32]  # [B, A]
    child_q: NDArray[np.float32]  # [B, A]
    weights: NDArray[np.float32]  # [B, A]
    best: NDArray[np.int32]  # [B]
    root_values: NDArray[np.float32]  # [B]
    depths: NDArray[np.int32]  # [B]
    old_node: NDArray[np.int32]  # [B, R + 1]
    num_kept: NDArray[np.int32]  # [B]


def make_reusing_batch(case: Case, most_nodes: int, num_threads: int = 1) -> TreeBatch:
    sizes = case.num_trees, case.num_actions, case.num_simulations
    params = SearchParams(**asdict(case.params))
    return TreeBatch(*sizes, params, seeds_of(case), num_threads, max_reused_nodes=most_nodes)


def case_of_move(case: Case, move: int) -> Case:
    """Return the same search with other answers of the network, and the other player to move."""
    return replace(case, seed=case.seed + 1000 * move)


def to_play_at(case: Case, move: int) -> NDArray[np.int32] | None:
    to_play = to_play_of(case)
    return None if to_play is None else (to_play + np.int32(move)) % 2


def played(case: Case, move: int, best: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the recommended actions, now and then another one or the end of the episode."""
    rng = np.random.default_rng([case.seed, move, 9])
    actions = np.where(rng.random(len(best)) < 0.7, best, rng.integers(-1, case.num_actions))
    return actions.astype(np.int32)


def legal_at(case: Case, move: int) -> NDArray[np.bool_] | None:
    return root_arrays(case_of_move(case, move))[2]


def play(case: Case, batch: TreeBatch, num_moves: int) -> list[Move]:
    """Play moves in the extension."""
    moves = []
    for number in range(num_moves):
        now = case_of_move(case, number)
        outputs, noise, legal = root_arrays(now)
        batch.expand_roots(
            np.stack([output.policy_logits for output in outputs]),
            np.array([output.value for output in outputs]),
            noise,
            legal,
            to_play_at(case, number),
            draw_noise=case.draws_noise,
            reuse=number > 0,
        )
        networks = [network(now, tree) for tree in range(case.num_trees)]
        parent, action, resets = leaf_buffers(case)
        new_node, leaves = parent.copy(), []
        for _ in range(case.num_simulations):
            batch.select_leaves(parent, action, resets, new_node)
            leaves.append(np.stack([parent, action, resets, new_node], axis=-1))
            answers = [f(int(n), int(a)) for f, n, a in zip(networks, parent, action, strict=True)]
            batch.backup(
                np.array([answer.value_prefix for answer in answers]),
                np.array([answer.value for answer in answers]),
                np.stack([answer.policy_logits for answer in answers]),
            )
        moves.append(read_move(case, batch, np.array(leaves)))
        batch.advance(
            played(case, number, moves[-1].best),
            moves[-1].old_node,
            moves[-1].num_kept,
            legal_at(case, number + 1),
        )
    return moves


def read_move(case: Case, batch: TreeBatch, leaves: NDArray[np.int32]) -> Move:
    size, cells = case.num_trees, (case.num_trees, case.num_actions)
    move = Move(
        leaves,
        np.zeros(cells, np.int32),
        np.zeros(cells, F32),
        np.zeros(cells, F32),
        np.zeros(size, np.int32),
        np.zeros(size, F32),
        np.zeros(size, np.int32),
        np.zeros((size, batch.max_reused_nodes + 1), np.int32),
        np.zeros(size, np.int32),
    )
    batch.visit_counts(move.visits)
    batch.child_q(move.child_q)
    batch.action_weights(move.weights)
    batch.best_actions(move.best)
    batch.root_values(move.root_values)
    batch.search_depths(move.depths)
    return move


def play_reference(case: Case, most_nodes: int, num_moves: int, all_played: list) -> list[Move]:
    """Play the same moves in the Python reference."""
    kind = ReferenceGumbelSearch if case.params.algorithm == "gumbel" else ReferenceSearch
    searches = [kind(case.params, int(seed)) for seed in seeds_of(case)]
    moves = []
    for number in range(num_moves):
        now = case_of_move(case, number)
        outputs, noise, legal = root_arrays(now)
        to_play, next_legal = to_play_at(case, number), legal_at(case, number + 1)
        rows = []
        for tree, search in enumerate(searches):
            search.leaves = []
            root = search.search(
                outputs[tree],
                network(now, tree),
                case.num_simulations,
                noise=RootNoise(None if noise is None else noise[tree], case.draws_noise),
                is_legal=None if legal is None else legal[tree],
                to_play=None if to_play is None else int(to_play[tree]),
                reuse=number > 0,
            )
            first = len(search.nodes) - case.num_simulations
            q = [
                search.q(root.children[a]) if a in root.children else F32(np.nan)
                for a in range(case.num_actions)
            ]
            row = [
                np.array([(*leaf, first + i) for i, leaf in enumerate(search.leaves)]),
                root.child_visits(),
                np.array(q),
                search.action_weights(root),
                search.best_action(root),
                root.value(),
                max(node.depth for node in search.nodes),
            ]
            is_legal = None if next_legal is None else next_legal[tree]
            kept = advance(search, int(all_played[number][tree]), is_legal, most_nodes)
            rows.append([*row, kept + [-1] * (most_nodes + 1 - len(kept)), len(kept)])
        columns = [np.array(column) for column in zip(*rows, strict=True)]
        moves.append(Move(columns[0].swapaxes(0, 1), *columns[1:]))
    return moves


def assert_equals_the_reference(case: Case, most_nodes: int, num_moves: int = 4) -> None:
    case = replace(case, params=replace(case.params, stale_prefix_bounds=False))
    got = play(case, make_reusing_batch(case, most_nodes), num_moves)
    actions = [played(case, number, move.best) for number, move in enumerate(got)]
    wanted = play_reference(case, most_nodes, num_moves, actions)
    for got_move, wanted_move in zip(got, wanted, strict=True):
        for name in Move._fields:
            np.testing.assert_array_equal(
                getattr(got_move, name), getattr(wanted_move, name), err_msg=name
            )


@pytest.mark.slow
@settings(max_examples=150)
@given(case=cases(), most_nodes=st.sampled_from([1, 3, 10, 60, 240]))
def test_several_moves_equal_the_reference_bit_by_bit(case: Case, most_nodes: int) -> None:
    assert_equals_the_reference(case, most_nodes)


def test_the_cases_keep_and_drop_nodes() -> None:
    """Or the comparison above would say little."""
    case = Case(num_trees=8, has_illegal=True)
    free, tight, legal = (
        np.concatenate([move.num_kept for move in play(c, make_reusing_batch(c, most), 6)])
        for c, most in ((case, 240), (case, 4), (replace(case, has_illegal=False), 240))
    )
    assert free.max() > 15
    assert (free == 0).any()
    assert tight.max() == 5
    assert legal.sum() > free.sum()


@settings(max_examples=40)
@given(case=cases(), most_nodes=st.integers(1, 50))
def test_visits_are_those_kept_and_those_of_this_search(case: Case, most_nodes: int) -> None:
    case = replace(case, params=replace(case.params, stale_prefix_bounds=False))
    before = np.zeros(case.num_trees, np.int32)
    for move in play(case, make_reusing_batch(case, most_nodes), 4):
        assert (move.visits.sum(axis=1) == case.num_simulations + before).all()
        before = np.maximum(move.num_kept - 1, 0)
        assert (move.num_kept <= most_nodes + 1).all()


@settings(max_examples=30)
@given(case=cases())
def test_without_advance_room_for_kept_nodes_changes_nothing(case: Case) -> None:
    case = replace(case, params=replace(case.params, stale_prefix_bounds=False))
    got, wanted = run_search(case, make_reusing_batch(case, 9)), run_search(case)
    np.testing.assert_array_equal(got.leaves, wanted.leaves)
    np.testing.assert_array_equal(got.action_weights, wanted.action_weights)
    np.testing.assert_array_equal(got.root_values, wanted.root_values)


def test_a_new_search_after_advance_may_start_empty() -> None:
    case = Case()
    batch = make_reusing_batch(case, 50)
    play(case, batch, 3)
    batch.reset(seeds_of(case))
    fresh = run_search(case)
    np.testing.assert_array_equal(play(case, batch, 1)[0].visits, fresh.visit_counts)
    batch.reset(seeds_of(case))
    play(case, batch, 1)
    got = run_search(case, batch)  # does not reuse; no ties, so it repeats the first
    np.testing.assert_array_equal(got.leaves, fresh.leaves)


def test_any_number_of_threads_keeps_the_same_nodes() -> None:
    case = Case(num_trees=64, draws_noise=True)
    one, four = (play(case, make_reusing_batch(case, 20, threads), 4) for threads in (1, 4))
    for got, wanted in zip(four, one, strict=True):
        for name in Move._fields:
            np.testing.assert_array_equal(getattr(got, name), getattr(wanted, name))


def chain(batch: TreeBatch, prefixes: list[float], *, reuse: bool) -> list[bool]:
    """Search with one action and no values; return where the recurrent state is reset."""
    zero, logits = np.zeros(1, F32), np.zeros((1, 1), F32)
    buffers, resets = leaf_buffers(Case(num_trees=1)), []
    batch.expand_roots(logits, zero, reuse=reuse)
    for prefix in prefixes:
        batch.select_leaves(*buffers)
        resets.append(bool(buffers[2][0]))
        batch.backup(np.full(1, prefix, F32), zero, logits)
    return resets


def test_kept_nodes_go_on_with_the_sum_of_rewards_they_were_expanded_in() -> None:
    """Horizon 3: the chain's resets stay at old depths 3 and 6, now 2 and 5."""
    params = SearchParams(discount=1.0, value_prefix_horizon=3)
    seeds = np.zeros(1, np.uint64)
    batch = TreeBatch(1, 1, 4, params, seeds, max_reused_nodes=9)
    assert chain(batch, [1, 3, 6, 10], reuse=False) == [False, False, True, False]
    old_node, num_kept = np.zeros((1, 10), np.int32), np.zeros(1, np.int32)
    batch.advance(np.zeros(1, np.int32), old_node, num_kept)
    assert old_node[0].tolist() == [1, 2, 3, 4] + [-1] * 6
    assert num_kept[0] == 4
    assert chain(batch, [11, 13, 1, 2], reuse=True) == [False, True, False, False]
    rewards = [node["reward"] for node in batch.export_tree(0)["nodes"]]
    # 10 is the first prefix below a reset; then 11 - 10, 13 - 11; then it restarts.
    assert rewards == [0, 2, 3, 10, 1, 2, 1, 1]


def test_what_was_kept_may_not_become_illegal() -> None:
    case = Case(num_trees=1, num_actions=2, num_simulations=20)
    batch = make_reusing_batch(case, 20)
    play(case, batch, 1)
    illegal = np.array([[True, False]])
    zeros, logits = np.zeros(1, F32), np.zeros((1, 2), F32)
    with pytest.raises(ValueError, match="legal_actions: got action 1 illegal in row 0, which"):
        batch.expand_roots(logits, zeros, None, illegal, reuse=True)
    batch.expand_roots(logits, zeros, reuse=True)


def test_reuse_is_refused_where_it_cannot_be() -> None:
    case = Case()
    ints, cells = np.zeros(3, np.int32), np.zeros((3, 8), np.int32)
    with pytest.raises(ValueError, match="max_reused_nodes: got -1, wanted 0 to 32736"):
        make_reusing_batch(case, -1)
    stale = Case(params=ReferenceParams(discount=0.9, stale_prefix_bounds=True))
    with pytest.raises(ValueError, match="max_reused_nodes: got 7 with stale_prefix_bounds"):
        make_reusing_batch(stale, 7)
    plain = make_batch(case)
    run_search(case, plain)
    with pytest.raises(ValueError, match="advance: got max_reused_nodes 0, wanted at least 1"):
        plain.advance(ints, cells[:, :1].copy(), ints.copy())
    batch = make_reusing_batch(case, 7)
    with pytest.raises(ValueError, match="wanted expand_roots first"):
        batch.advance(ints, cells, ints.copy())
    run_search(case, batch)
    with pytest.raises(ValueError, match="actions: got 6 in row 0, wanted -1 to 5"):
        batch.advance(ints + 6, cells, ints.copy())
    with pytest.raises(ValueError, match=r"old_node: got int32 \[3, 7\], wanted int32 \[3, 8\]"):
        batch.advance(ints, cells[:, :7].copy(), ints.copy())
    outputs, _, _ = root_arrays(case)
    logits, values = np.stack([o.policy_logits for o in outputs]), np.zeros(3, F32)
    with pytest.raises(ValueError, match="reuse: got true without kept trees, wanted advance"):
        batch.expand_roots(logits, values, reuse=True)
    batch.expand_roots(logits, values)
    batch.select_leaves(*leaf_buffers(case))
    with pytest.raises(ValueError, match="advance: got selected leaves, wanted backup first"):
        batch.advance(ints, cells, ints.copy())


@pytest.mark.parametrize("algorithm", ["puct", "gumbel"])
def test_memory_grows_by_the_kept_nodes(algorithm: str) -> None:
    params = SearchParams(discount=0.9, algorithm=algorithm)  # type: ignore[arg-type]
    seeds = np.zeros(1, np.uint64)
    nodes, padded = 50 + 40 + 1, 24
    batch = TreeBatch(1, 18, 50, params, seeds, max_reused_nodes=40)
    rest = 4 * nodes + 4 * (nodes - 1) + 2 * nodes
    rest += 4 * nodes + 8 * padded if algorithm == "gumbel" else 0
    wanted = nodes * 384 + -(-rest // 64) * 64
    assert 0 < batch.bytes_per_tree - wanted <= 128
