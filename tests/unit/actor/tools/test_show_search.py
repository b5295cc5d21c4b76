"""The picture of a decision."""

import numpy as np
import pytest
import torch

from actor.tools.show_search import Decision, decide, draw, layout, most_visited
from efficientzero.config import load_preset
from efficientzero.networks import make_network
from efficientzero.runs.checkpoint import save_checkpoint
from efficientzero.schema import SearchResult
from tests.support.cases.loss_cases import changed
from tests.support.fakes import tiny_config, tiny_run


def node(index, parent, depth, visits):
    return {
        "index": index,
        "parent": parent,
        "action": None if parent is None else 0,
        "depth": depth,
        "visits": visits,
        "value": 0.5,
        "reward": 0.0,
        "prior": 0.5,
        "q": None if parent is None else 0.25,
        "priors": [0.5, 0.5],
    }


TREE = {
    "tree": 0,
    "num_actions": 2,
    "nodes": [node(0, None, 0, 4), node(1, 0, 1, 2), node(2, 0, 1, 1), node(3, 1, 2, 1)],
}


def test_parents_stand_above_the_middle_of_their_children():
    places = layout(TREE["nodes"])
    assert [places[i][1] for i in range(4)] == [0.0, -1.0, -1.0, -2.0]
    assert places[1][0] == places[3][0]
    assert places[0][0] == (places[1][0] + places[2][0]) / 2
    assert len(set(places.values())) == 4


def test_the_most_visited_nodes_always_include_their_parents():
    kept = most_visited(TREE, 2)
    assert [n["index"] for n in kept] == [0, 1]


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(3, 8, 6), (1, 8, 6), (4,)])
def test_every_kind_of_frame_is_drawn(tmp_path, shape):
    decision = Decision(
        frame=np.zeros(shape, np.uint8),
        result=SearchResult(
            visit_counts=np.array([[2, 1]], np.int32),
            policies=np.array([[2 / 3, 1 / 3]], np.float32),
            best_actions=np.zeros(1, np.int32),
            root_values=np.zeros(1, np.float32),
            predicted_values=np.zeros(1, np.float32),
            prior_logits=np.zeros((1, 2), np.float32),
            search_depths=np.array([2], np.int32),
            child_q=np.empty((1, 0), np.float32),
            slot_actions=np.empty((1, 0, 0), np.float32),
        ),
        tree=TREE,
        env_step=1,
        train_step=2,
    )
    draw(decision, max_nodes=4, out=tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "switches",
    [
        {},
        {"network": {"categorical_values": False}},
        {"learner": {"consistency_coefficient": 0.0}},
        {"agent": {"value_prefix": False, "value_prefix_horizon": 1}},
    ],
)
def test_a_learners_checkpoint_is_searched_whatever_its_parts(tmp_path, switches):
    config = changed(tiny_config(), **switches)
    run = tiny_run(tmp_path, config)
    network = make_network(config, run.env_spec, training=True)
    state = {"train_step": 7, "network": network.state_dict()}
    save_checkpoint(tmp_path / "checkpoints", 7, state, keep=1)
    decision = decide(run, 1)
    assert decision.train_step == 7
    assert decision.result.visit_counts.sum() == config.search.num_simulations
    observation = np.concatenate([decision.frame] * 2)[None]  # only for the shape of an answer
    logits = network.eval().initial_inference(torch.from_numpy(observation)).value_logits
    assert network.support.decode(logits).shape == decision.result.predicted_values.shape


def test_a_run_without_a_checkpoint_is_named(tmp_path):
    with pytest.raises(ValueError, match="no checkpoint yet"):
        decide(tiny_run(tmp_path, tiny_config()), 0)


def test_an_agent_without_a_search_has_no_tree_to_draw(tmp_path):
    run = tiny_run(tmp_path, load_preset("catch-q"))
    weights = make_network(run.config, run.env_spec, training=True).state_dict()
    save_checkpoint(tmp_path / "checkpoints", 1, {"train_step": 1, "network": weights}, keep=1)
    with pytest.raises(ValueError, match=r"search.num_simulations: got 0 in .*, wanted a run that"):
        decide(run, 0)
