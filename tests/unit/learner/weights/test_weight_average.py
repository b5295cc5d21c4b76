"""Averaged weights: what they are, who gets them, and that a resumed run goes on with them."""

import dataclasses

import pytest
import torch

from actor.tools.saved_run import load_network
from efficientzero.config.files import ConfigError, config_from_dict
from efficientzero.config.validation import validate
from efficientzero.networks import inference_entries, make_network
from efficientzero.rpc.weights_codec import decode_weights
from efficientzero.runs.checkpoint import save_checkpoint
from learner.weights.publishing import Publishing
from learner.weights.weight_average import WeightAverage
from tests.support.fakes import tiny_config, tiny_run
from tests.support.training_batches import training_batch
from tests.unit.learner.test_learner import (
    LATEST,
    TARGET,
    Bench,
    RecordingPublisher,
    learner_config,
)

DECAY = 0.8


def copied(state):
    return {name: tensor.clone() for name, tensor in state.items()}


def averaged(history, decay=DECAY):
    """Return the weighted mean of states, the newest with weight 1, in float64."""
    shares = [decay ** (len(history) - 1 - i) for i in range(len(history))]
    mean = {}
    for name, newest in history[-1].items():
        if newest.is_floating_point():
            terms = (s * state[name].double() for s, state in zip(shares, history, strict=True))
            mean[name] = (sum(terms) / sum(shares)).float()
        else:
            mean[name] = newest
    return mean


def assert_close(got, wanted):
    assert got.keys() == wanted.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(got[name], tensor, rtol=1e-5, atol=1e-6, msg=name)


def published(publisher, network):
    """Return the newest published weights by kind."""
    expected = network.inference_state_dict()
    return {
        kind: dict(decode_weights(publisher.newest(kind).payload, expected))
        for kind in (LATEST, TARGET)
    }


def small_network(seed=0):
    config = tiny_config()
    torch.manual_seed(seed)
    return make_network(config, tiny_run_spec(config), training=False).train()


def tiny_run_spec(config):
    return tiny_run(None, config).env_spec


def move(network, generator):
    """Change weights, statistics and counts as a train_step does."""
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(torch.randn(tensor.shape, generator=generator))
            else:
                tensor.add_(1)


def test_the_average_is_the_weighted_mean_of_all_train_steps_without_the_initial_weights():
    network, generator = small_network(), torch.Generator().manual_seed(1)
    average = WeightAverage(network.inference_state_dict(), DECAY)
    assert_close(average.weights, copied(network.inference_state_dict()))
    history = []
    for _ in range(5):
        move(network, generator)
        average.update()
        history.append(copied(network.inference_state_dict()))
        assert_close(average.weights, averaged(history))
    assert any("running_var" in name for name in average.weights)
    assert not any(name.startswith("projector") for name in average.weights)
    assert average.distance() > 0


def trained(directory, **learner):
    """Train six steps; return the bench, the weights after each, and what was published last."""
    budget = {"train_steps": 4, "last_train_steps": 2}
    config = learner_config(budget=budget, **learner)
    bench = Bench(directory, config, [training_batch(config, i) for i in range(6)])
    history, note = [], bench.trained_on
    bench.trained_on = lambda *noted: (
        history.append(copied(bench.learner.network.inference_state_dict())),
        note(*noted),
    )
    bench.learner.run()
    return bench, history, published(bench.publisher, bench.learner.network)


@pytest.mark.parametrize(
    ("consumers", "expected"),
    [("acting", {LATEST}), ("targets", {TARGET}), ("both", {LATEST, TARGET})],
)
def test_each_consumer_gets_the_weights_it_is_configured_to_get(tmp_path, consumers, expected):
    bench, history, sent = trained(
        tmp_path, average_decay=DECAY, average_for=consumers, target_interval=2
    )
    for kind, weights in sent.items():
        assert_close(weights, averaged(history) if kind in expected else history[-1])
    # Each at its own interval, whether in one publication or in two.
    assert bench.publisher.train_steps == {LATEST: [0, 1, 2, 4, 6, 6], TARGET: [0, 2, 4, 6, 6]}
    rows = [row["learner/weight_average_distance"] for row in bench.tracker.rows]
    assert all(0 < distance < 1 for distance in rows[1:])


def test_training_is_the_same_with_and_without_an_average(tmp_path):
    plain, average = (
        trained(tmp_path / str(decay), average_decay=decay)[0] for decay in (0.0, DECAY)
    )
    states = [bench.learner.network.state_dict() for bench in (plain, average)]
    for name, tensor in states[0].items():
        assert torch.equal(states[1][name], tensor), name
    assert "weight_average" not in plain.checkpoints()[-1]
    assert "learner/weight_average_distance" not in plain.tracker.rows[-1]


def test_a_resumed_run_goes_on_with_the_average_bit_for_bit(tmp_path):
    whole, _, wanted = trained(tmp_path / "whole", average_decay=DECAY, average_for="both")
    config = whole.run.config
    first = Bench(tmp_path / "first", config, whole.batches[:3])
    first.learner.run()  # the bench asks for a stop after three batches
    second = Bench(tmp_path / "second", config, whole.batches[3:], train_steps=3)
    second.learner.training.restore(first.checkpoints()[-1])
    second.learner.run()
    got = published(second.publisher, second.learner.network)
    for kind in (LATEST, TARGET):
        assert all(torch.equal(got[kind][name], tensor) for name, tensor in wanted[kind].items())


@pytest.mark.parametrize("parent_decay", [0.0, DECAY])
def test_a_fork_begins_with_its_parents_average_or_with_its_weights(tmp_path, parent_decay):
    parent, history, _ = trained(tmp_path / "parent", average_decay=parent_decay)
    config = dataclasses.replace(
        parent.run.config,
        learner=dataclasses.replace(parent.run.config.learner, average_decay=DECAY),
    )
    child = Bench(tmp_path / "child", config, [], train_steps=6)
    child.learner.training.adopt(parent.checkpoints()[-1])
    child.learner.run()
    got = published(child.publisher, child.learner.network)[LATEST]
    assert_close(got, averaged(history) if parent_decay else history[-1])


@pytest.mark.parametrize(
    ("consumers", "is_average"), [("acting", True), ("both", True), ("targets", False)]
)
def test_a_saved_run_is_played_with_the_weights_that_its_evaluator_had(
    tmp_path, consumers, is_average
):
    config = tiny_config()
    learner = dataclasses.replace(config.learner, average_decay=DECAY, average_for=consumers)
    run = tiny_run(tmp_path, dataclasses.replace(config, learner=learner))
    newest, average = (small_network(seed).state_dict() for seed in (1, 2))
    state = {
        "train_step": 8,
        "network": newest,
        "weight_average": {"num_updates": 8, "weights": inference_entries(average)},
    }
    save_checkpoint(tmp_path / "checkpoints", 8, state, keep=2)
    got = load_network(run, torch.device("cpu"))[0].inference_state_dict()
    assert_close(got, inference_entries(average if is_average else newest))


def test_a_lag_of_the_target_weights_is_one_of_their_average():
    network, generator = small_network(), torch.Generator().manual_seed(1)
    config = tiny_config()
    config = dataclasses.replace(
        config,
        compat=dataclasses.replace(config.compat, target_weights_lag=1),
        learner=dataclasses.replace(
            config.learner, average_decay=DECAY, average_for="targets", target_interval=1
        ),
    )
    publisher, history = RecordingPublisher(), []
    publishing = Publishing(network.inference_state_dict(), config, publisher)
    for step in range(1, 4):
        move(network, generator)
        history.append(copied(network.inference_state_dict()))
        publishing.train_step_made(step)
    publishing.wait()
    assert publisher.train_steps[TARGET] == [1, 2]
    got = decode_weights(publisher.newest(TARGET).payload, network.inference_state_dict())
    assert_close(dict(got), averaged(history[:2]))
    assert publishing.copies["weight_average"].state_dict()["num_updates"] == 3


@pytest.mark.parametrize("decay", [1.0, 1.5])
def test_a_decay_that_would_never_forget_is_refused(decay):
    message = f"learner.average_decay: got {decay}, wanted 0 or more and less than 1"
    with pytest.raises(ConfigError, match=message):
        validate(config_from_dict({"learner": {"average_decay": decay}}))
