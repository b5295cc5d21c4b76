"""Searches with another horizon: its discount, its head's values, in every backend."""

import dataclasses

import numpy as np
import pytest
import torch

from efficientzero.config import Config, ConfigError, config_from_dict, config_hash
from efficientzero.config.fields import AgentConfig, NetworkConfig, SearchConfig
from efficientzero.config.validation import validate
from efficientzero.networks import make_network, node_answers
from efficientzero.schema import EnvSpec, Roots
from efficientzero.search import make_planner

IMAGE = EnvSpec(
    env_id="i", frame_shape=(1, 10, 5), frame_dtype="uint8", num_actions=3, num_stacked_frames=2
)
VECTOR = EnvSpec(
    env_id="v", frame_shape=(4,), frame_dtype="float32", num_actions=3, num_stacked_frames=1
)
SIZES = NetworkConfig(
    channels=8, reduced_channels=4, mlp_latent_size=8, mlp_hidden_size=16, head_hidden_size=8,
    lstm_hidden_size=12, support_bound=5, zero_init_heads=False,
)  # fmt: skip
CPU = torch.device("cpu")
LONG, SHORT = 0.99, 0.7


def config_of(*auxiliary, horizon=0, weight=0.0, backend="auto", norm="batch", discount=LONG):
    return Config(
        agent=AgentConfig(discount=discount, auxiliary_discounts=auxiliary),
        network=dataclasses.replace(SIZES, norm=norm),
        search=SearchConfig(
            num_simulations=10,
            planning_horizon=horizon,
            other_horizon_weight=weight,
            inference_backend=backend,
        ),
    )


def network_of(config, spec, *, training=False):
    torch.manual_seed(0)
    return make_network(config, spec, training=training).eval()


def shown(spec, count=4):
    drawn = np.random.default_rng(0).normal(size=(count, *spec.observation_shape))
    return (drawn * 60 + 120).astype(np.uint8) if spec.is_image else drawn.astype(np.float32)


def searched(config, network, spec):
    planner = make_planner(
        config, spec, network, batch_size=4, device=CPU, generator=np.random.default_rng(0)
    )
    return planner.run(Roots(shown(spec)), exploration_noise=True), planner


@pytest.mark.parametrize("backend", ["eager", "auto"])
@pytest.mark.parametrize("spec", [IMAGE, VECTOR], ids=["image", "vector"])
def test_planning_with_a_horizon_is_planning_with_a_network_whose_value_head_it_is(spec, backend):
    config = config_of(0.9, SHORT, horizon=2, backend=backend)
    network = network_of(config, spec)
    plain = config_of(discount=SHORT, backend=backend)
    other = network_of(plain, spec)
    state = network.state_dict()
    taken = {k: v for k, v in state.items() if "auxiliary" not in k}
    for name, tensor in state.items():
        if "auxiliary" in name:
            wanted = taken[name.replace("auxiliary_value_head", "value_head")]
            is_row = wanted.shape != tensor.shape  # the second of two blocks of bins
            taken[name.replace("auxiliary_value_head", "value_head")] = (
                tensor[len(wanted) :] if is_row else tensor
            )
    other.load_state_dict(taken)
    (got, planner), (wanted, _) = searched(config, network, spec), searched(plain, other, spec)
    for name, one, two in zip(got._fields, got, wanted, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5, err_msg=name)
    # Targets bootstrap with the long horizon all the same.
    values = planner.horizon_values(shown(spec))
    np.testing.assert_allclose(values[:, 2], wanted.predicted_values, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        values[:, 0], planner.network_values(shown(spec)), rtol=1e-4, atol=1e-5
    )
    assert not np.allclose(values[:, 0], values[:, 2], atol=1e-2)


@pytest.mark.parametrize("spec", [IMAGE, VECTOR], ids=["image", "vector"])
def test_a_tree_discounts_by_the_planning_horizon(spec):
    """Both horizons have the same values here: the trees differ by the discount alone."""
    results = []
    for horizon in (0, 1):
        config = config_of(SHORT, horizon=horizon)
        network = network_of(config, spec)
        head, own = network.prediction.auxiliary_value_head, network.prediction.value_head
        head.load_state_dict(own.state_dict())
        results.append(searched(config, network, spec)[0])
    long, short = results
    np.testing.assert_allclose(short.predicted_values, long.predicted_values, rtol=1e-5)
    assert not np.allclose(short.root_values, long.root_values, rtol=1e-2)
    plain = config_of(discount=SHORT)
    wanted = searched(plain, network_of(plain, spec), spec)[0]
    np.testing.assert_allclose(short.root_values, wanted.root_values, rtol=1e-4)


@pytest.mark.parametrize("spec", [IMAGE, VECTOR], ids=["image", "vector"])
def test_the_long_horizon_can_have_a_say_at_leaves(spec):
    config = config_of(SHORT, horizon=1, weight=0.25)
    network = network_of(config, spec)
    said = network.initial_inference(torch.from_numpy(shown(spec)))
    long, short = network.answer_rule.horizon_values(said).unbind(-1)
    values = node_answers(said, network.planning_rule).values
    torch.testing.assert_close(values, short + 0.25 * long)
    torch.testing.assert_close(node_answers(said, network.answer_rule).values, long)
    eager = dataclasses.replace(config.search, inference_backend="eager")
    results = [
        searched(dataclasses.replace(config, search=search), network, spec)[0]
        for search in (config.search, eager)
    ]
    np.testing.assert_allclose(*(r.root_values for r in results), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(*(r.visit_counts for r in results))


@pytest.mark.parametrize("norm", ["batch", "batch_by_call", "layer"])
def test_the_head_changes_no_other_weight_and_none_is_there_without(norm):
    plain = network_of(config_of(norm=norm), IMAGE, training=True).state_dict()
    more = network_of(config_of(0.9, SHORT, norm=norm), IMAGE, training=True).state_dict()
    assert list(plain) == [name for name in more if "auxiliary_value_head" not in name]
    for name, tensor in plain.items():
        assert torch.equal(tensor, more[name]), name
    kinds = {name.split(".")[0] for name in more.keys() - plain.keys()}
    wanted = {"prediction", "root_prediction"} if norm == "batch_by_call" else {"prediction"}
    assert kinds == wanted


def test_at_roots_the_head_has_statistics_of_its_own_where_others_have():
    network = network_of(config_of(SHORT, norm="batch_by_call"), IMAGE).train()
    observations = torch.from_numpy(shown(IMAGE))
    network.initial_inference(observations)
    at_root = network.root_prediction.auxiliary_value_head[-1].norm
    later = network.prediction.auxiliary_value_head[-1].norm
    assert at_root.weight is later.weight
    assert at_root.running_mean.abs().sum() > 0
    assert later.running_mean.abs().sum() == 0


AUXILIARY = {"auxiliary_discounts": [0.8]}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"search": {"planning_horizon": 1}},
            r"search\.planning_horizon: got 1 with 0 agent\.auxiliary_discounts, wanted at most",
        ),
        (
            {"agent": AUXILIARY, "search": {"other_horizon_weight": 0.5}},
            r"search\.other_horizon_weight: got 0\.5 with search\.planning_horizon 0, wanted 0",
        ),
        (
            {"agent": {"discount": 0.8, **AUXILIARY}},
            r"agent\.auxiliary_discounts: got 0\.8 with agent\.discount 0\.8, wanted discounts",
        ),
        (
            {"agent": {"auxiliary_discounts": [1.1]}},
            r"agent\.auxiliary_discounts: got 1\.1, wanted at most 1",
        ),
        (
            {"agent": {"auxiliary_discounts": [0.0]}},
            r"agent\.auxiliary_discounts: got 0\.0, wanted more than 0",
        ),
        (
            {"agent": {"value_function": "action", **AUXILIARY}},
            r"agent\.auxiliary_discounts: got 0\.8 with agent\.value_function action, wanted none",
        ),
        (
            {"agent": AUXILIARY, "learner": {"target_network": "local"}},
            r"agent\.auxiliary_discounts: got 0\.8 with learner\.target_network local, wanted",
        ),
        (
            {"agent": AUXILIARY, "reanalyzer": {"value_target": "search"}},
            r"agent\.auxiliary_discounts: got 0\.8 with reanalyzer\.value_target search, wanted",
        ),
        (
            {
                "agent": AUXILIARY,
                "search": {"planning_horizon": 1},
                "reanalyzer": {"value_bootstrap": "search"},
            },
            r"search\.planning_horizon: got 1 with reanalyzer\.value_bootstrap search, wanted 0",
        ),
        (
            {
                "agent": AUXILIARY,
                "search": {"planning_horizon": 1},
                "replay": {"initial_priority": "value_error"},
            },
            r"search\.planning_horizon: got 1 with replay\.initial_priority value_error, wanted 0",
        ),
        (
            {
                "agent": AUXILIARY,
                "search": {"planning_horizon": 1},
                "learner": {"auxiliary_value_coefficient": 0},
            },
            r"learner\.auxiliary_value_coefficient: got 0 with search\.planning_horizon 1, wanted",
        ),
    ],
)
def test_horizons_that_cannot_be_planned_or_learned_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        validate(config_from_dict(values))


def test_horizons_are_part_of_an_experiment():
    plain, more = (config_from_dict({"agent": a}) for a in ({}, AUXILIARY))
    validate(more)
    assert config_hash(plain) != config_hash(more)
