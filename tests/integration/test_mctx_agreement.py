"""`mcts_cpp` finds what mctx finds: visit counts exactly, Q and action weights as float32 can.

mctx's PUCT normalises Q by each node's own children unless told otherwise, adds up to 1e-7 to
scores, and gives unvisited actions the lowest Q, as "zero" does here. The common case is Q with
known bounds.
"""

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mcts_cpp import SearchParams, TreeBatch
from tests.support.cases.mctx_cases import CASES, HIGHEST_Q, LOWEST_Q, MctxCase, TabularModel

F32 = np.float32
GOLDEN = json.loads((Path(__file__).parent.parent / "golden" / "mctx.json").read_text())


def make_trees(case: MctxCase) -> TreeBatch:
    rules: dict[str, Any] = {
        "max_considered_actions": case.max_considered_actions,
        "maxvisit_init": case.maxvisit_init,
        "value_scale": case.value_scale,
        "normalize_q": case.rescale_values,
    }
    if case.algorithm == "puct":
        rules = {"unvisited_q": "zero", "known_q_bounds": (LOWEST_Q, HIGHEST_Q)}
    params = SearchParams(
        discount=case.discount,
        algorithm=case.algorithm,  # type: ignore[arg-type]
        use_value_prefix=False,
        num_players=case.num_players,
        **rules,
    )
    seeds = np.arange(case.num_trees, dtype=np.uint64)
    return TreeBatch(case.num_trees, case.num_actions, case.num_simulations, params, seeds)


def search(case: MctxCase, gumbel: list[list[float]] | None) -> dict[str, np.ndarray]:
    """Search with the tables as the network."""
    model, trees = TabularModel(case), make_trees(case)
    size, actions = case.num_trees, case.num_actions
    states = np.zeros((case.num_simulations + 1, size), np.int32)
    states[0] = model.root_states
    noise = None if gumbel is None else np.array(gumbel, F32)
    trees.expand_roots(model.logits[states[0]], model.values[states[0]], noise, model.legal_actions)
    parent, action, resets = (
        np.zeros(size, np.int32),
        np.zeros(size, np.int32),
        np.zeros(size, bool),
    )
    for node in range(1, case.num_simulations + 1):
        trees.select_leaves(parent, action, resets)
        before = states[parent, np.arange(size)]
        states[node] = model.next_states[before, action]
        rewards = model.rewards[before, action]
        trees.backup(rewards, model.values[states[node]], model.logits[states[node]])
    found = {
        "visit_counts": np.zeros((size, actions), np.int32),
        "child_q": np.zeros((size, actions), F32),
        "root_values": np.zeros(size, F32),
        "action_weights": np.zeros((size, actions), F32),
        "best_actions": np.zeros(size, np.int32),
    }
    for name, out in found.items():
        getattr(trees, name)(out)
    return found


def assert_agreement(case: MctxCase, wanted: dict[str, Any]) -> None:
    found = search(case, wanted["gumbel"])
    visits = np.array(wanted["visit_counts"])
    np.testing.assert_array_equal(found["visit_counts"], visits)
    assert (np.isnan(found["child_q"]) == (visits == 0)).all()
    np.testing.assert_allclose(
        found["child_q"][visits > 0], np.array(wanted["child_q"])[visits > 0], rtol=2e-6, atol=1e-6
    )
    np.testing.assert_allclose(found["root_values"], wanted["root_values"], rtol=2e-6, atol=1e-6)
    if case.algorithm == "gumbel":  # mctx samples its PUCT action by temperature
        np.testing.assert_array_equal(found["best_actions"], wanted["actions"])
    np.testing.assert_allclose(
        found["action_weights"], wanted["action_weights"], rtol=2e-5, atol=1e-7
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_search_agrees_with_mctx(case: MctxCase) -> None:
    assert_agreement(case, GOLDEN["cases"][case.name])


@pytest.mark.skipif(
    importlib.util.find_spec("mctx") is None,
    reason="pip install 'jax==0.4.30' 'jaxlib==0.4.30' 'mctx==0.0.5'",
)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_golden_file_is_what_mctx_finds(case: MctxCase) -> None:
    from tests.golden.make_mctx_golden import run_mctx

    now, golden = run_mctx(case), GOLDEN["cases"][case.name]
    assert now["visit_counts"] == golden["visit_counts"]
    np.testing.assert_allclose(now["action_weights"], golden["action_weights"], atol=1e-6)
