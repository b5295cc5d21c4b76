"""A tree as dictionaries holds what the reference's tree holds; the README's example runs."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests.reference.reference_mcts import Node, ReferenceParams, ReferenceSearch
from tests.support.cases.mcts_cases import (
    Case,
    make_batch,
    network,
    root_arrays,
    run_search,
    seeds_of,
)

F32 = np.float32
README = Path(__file__).parents[3] / "mcts_cpp" / "README.md"


def reference_nodes(case: Case, tree: int) -> tuple[ReferenceSearch, list[Node]]:
    search = ReferenceSearch(case.params, int(seeds_of(case)[tree]))
    output = root_arrays(case)[0][tree]
    search.search(output, network(case, tree), case.num_simulations)
    return search, search.nodes


@pytest.mark.parametrize("num_players", [1, 2])
def test_an_exported_tree_is_the_references_tree(num_players: int) -> None:
    params = ReferenceParams(0.9, num_players=num_players, use_value_prefix=num_players == 1)
    case = Case(params=params)
    batch = make_batch(case)
    run_search(case, batch)
    exported = json.loads(json.dumps(batch.export_tree(2)))
    search, nodes = reference_nodes(case, 2)
    assert (exported["tree"], exported["num_actions"]) == (2, 6)
    assert [item["index"] for item in exported["nodes"]] == list(range(31))
    for item, node in zip(exported["nodes"], nodes, strict=True):
        assert item["visits"] == node.visit_count
        assert item["depth"] == node.depth
        assert F32(item["value"]) == node.value()
        assert F32(item["reward"]) == node.reward
        np.testing.assert_array_equal(np.array(item["priors"], F32), node.prior)
        if node.parent is None:
            assert (item["parent"], item["action"], item["prior"], item["q"]) == (
                None,
                None,
                1,
                None,
            )
        else:
            assert node.parent.children[item["action"]] is node
            assert item["parent"] == node.parent.index
            assert F32(item["prior"]) == node.parent.prior[item["action"]]
            assert F32(item["q"]) == search.q(node)


def test_a_tree_in_the_middle_of_its_search_can_be_exported() -> None:
    batch = make_batch(Case())
    with pytest.raises(ValueError, match="wanted expand_roots first"):
        batch.export_tree(0)
    batch.expand_roots(np.zeros((3, 6), F32), np.ones(3, F32))
    (root,) = batch.export_tree(1)["nodes"]
    assert (root["visits"], root["value"], len(root["priors"])) == (1, 1.0, 6)
    for tree in (-1, 3):
        with pytest.raises(ValueError, match=f"tree: got {tree}, wanted 0 to 2"):
            batch.export_tree(tree)


def test_the_readmes_example_goes_right(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    exec(compile(example, str(README), "exec"), {})
    assert capsys.readouterr().out == "[2 2 2 2]\n"
