"""Which heads a config asks for, and what of a network only training needs."""

import dataclasses
from typing import get_args, get_type_hints

import pytest

from efficientzero.config import LearnerConfig, NetworkConfig
from efficientzero.networks import (
    AUXILIARY_HEADS,
    TRUNKS,
    auxiliary_heads_of,
    inference_entries,
    make_network,
    training_only,
)
from tests.support.fakes import tiny_config, tiny_run


def with_learner(config, **fields):
    return dataclasses.replace(config, learner=dataclasses.replace(config.learner, **fields))


@pytest.mark.parametrize("name", AUXILIARY_HEADS)
def test_an_auxiliary_head_is_built_where_its_loss_counts_and_somebody_trains(name):
    coefficient, kind = AUXILIARY_HEADS[name].coefficient, AUXILIARY_HEADS[name].consistency
    config = with_learner(tiny_config(), consistency=kind or "simsiam", **{coefficient: 1.0})
    spec = tiny_run(None, config).env_spec
    off = with_learner(config, **{coefficient: 0})
    assert name in auxiliary_heads_of(config) and name not in auxiliary_heads_of(off)
    other = with_learner(config, consistency="simsiam" if kind else "spr")
    assert (name in auxiliary_heads_of(other)) == (not kind)
    trained = make_network(config, spec, training=True)
    assert list(trained.auxiliary_heads) == [*auxiliary_heads_of(config)]
    assert not make_network(config, spec, training=False).auxiliary_heads
    assert name not in make_network(off, spec, training=True).auxiliary_heads


def test_what_only_training_needs_comes_last_and_the_rest_is_all_that_search_has():
    config = tiny_config()
    spec = tiny_run(None, config).env_spec
    trained = make_network(config, spec, training=True)
    names, state = [name for name, _ in trained.named_parameters()], trained.state_dict()
    last = training_only(names)
    assert last == names[-len(last) :]
    assert set(training_only(state)) | set(inference_entries(state)) == set(state)
    assert list(inference_entries(state)) == list(
        make_network(config, spec, training=False).state_dict()
    )


def test_every_trunk_that_a_config_can_name_has_a_row():
    names = {*get_args(get_type_hints(NetworkConfig)["trunk"])}
    assert names - {"auto"} | {"conv"} == TRUNKS.keys()
    assert all(hasattr(LearnerConfig(), head.coefficient) for head in AUXILIARY_HEADS.values())
