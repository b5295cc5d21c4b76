"""Value targets that the learner completes, against reanalyzers, loops over episodes, by hand."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from efficientzero.config.files import ConfigError
from efficientzero.config.validation import validate
from efficientzero.envs import probe_env_spec
from efficientzero.process.runtime import seed_sequence
from learner.batches.checks import BadBatch, BatchChecks
from learner.batches.freshness import Freshness
from learner.batches.loader import BatchLoader
from learner.training.local_targets import LocalTargets, local_targets
from learner.training.losses import compute_loss, loss_parts, priority_rule
from learner.training.optimizers import make_optimizer
from learner.training.ranks import State
from learner.training.train_state import TrainState
from tests.reference.reference_distribution import projected
from tests.reference.reference_targets import value_target
from tests.support.cases.loss_cases import case, changed, in_float32, make_batch, make_network
from tests.support.cases.target_cases import (
    SPEC,
    TARGET_TRAIN_STEP,
    make_case,
    make_config,
    make_maker,
    observation_at,
)
from tests.support.fakes import tiny_config
from tests.support.training_batches import training_batch
from tests.unit.reanalyzer.targets.test_target_maker import horizon_of, rules_of

CPU = torch.device("cpu")
LOCAL = {"target_network": "local"}


def moved(network, seed=7):
    """Give the heads, which start at zero, something to say; return the network."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return network


def loaded(config, batch):
    loader = BatchLoader(config, SPEC, CPU, seed_sequence(0, "learner", 0, 1))
    return loader.load(loader.send(batch), 0)


def made(config, slices):
    """Return a reanalyzer's batch of ``slices``, and its network."""
    maker, search = make_maker(config)
    moved(search.network)
    return maker.make_batch(slices, TARGET_TRAIN_STEP), search.network


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"td_steps": 1},
        {"correction": False, "ratio": 0.5},
        {"block_length": 4},
        {"unroll": 2, "td_steps": 7, "prefix_horizon": 2},
    ],
)
def test_with_equal_weights_the_learner_completes_what_the_reanalyzer_would_have_sent(settings):
    plain = make_config(bootstrap="network", **settings)
    local = changed(plain, learner=LOCAL)
    origins, slices = make_case(plain, seed=3)
    wanted, _ = made(plain, slices)
    batch, network = made(local, slices)
    long = changed(local, budget={"env_steps": 10_000})
    assert BatchChecks(long, SPEC, largest_target=np.inf).check(batch) == 0
    inputs = loaded(local, batch)
    completed = LocalTargets(network, local).complete(inputs, 1)
    np.testing.assert_allclose(completed.values, wanted.values, rtol=1e-6, atol=1e-6)
    assert np.abs(inputs.values - completed.values).max() > 1.0, "the network has much to say"
    assert completed.bootstrap_observations is completed.bootstrap_discounts is None
    for name in ("value_prefixes", "policies", "action_mask"):
        np.testing.assert_array_equal(getattr(batch, name), getattr(wanted, name), err_msg=name)
    rules = rules_of(plain)

    def value_of(episode, i):
        observation = torch.tensor(observation_at(episode, i))[None].float()
        said = network.initial_inference(observation)
        return float(network.answer_rule.values(said).detach())

    for b, (episode, t) in enumerate(origins[:12]):
        for k in range(plain.agent.num_unroll_steps + 1):
            alone = value_target(
                episode,
                t,
                k,
                horizon=horizon_of(plain, episode, t, slices),
                value_of=lambda i, e=episode: value_of(e, i),
                rules=rules,
            )
            assert float(completed.values[b, k]) == pytest.approx(alone, rel=1e-5, abs=1e-5)


def test_a_target_by_hand():
    config = changed(make_config(), learner=LOCAL, agent={"num_unroll_steps": 1})
    _, slices = make_case(config, seed=1)
    batch, network = made(config, slices)
    inputs = loaded(config, batch)
    inputs = dataclasses.replace(
        inputs,
        values=torch.tensor([[1.0, 2.0]]),
        bootstrap_observations=inputs.bootstrap_observations[:1],
        bootstrap_discounts=torch.tensor([[0.9, 0.0]]),
    )
    with torch.no_grad():  # every value is h(5)'s
        head = network.prediction.value_head[-1].output
        head.weight.zero_()
        head.bias.copy_(network.support.encode(torch.tensor(5.0)).clamp(min=1e-30).log())
    values = LocalTargets(network, config).complete(inputs, 0).values
    torch.testing.assert_close(values, torch.tensor([[5.5, 2.0]]), rtol=1e-5, atol=1e-5)


def test_frozen_weights_are_renewed_at_the_interval_before_the_loss_and_stay_in_between():
    config = changed(make_config(), learner={**LOCAL, "target_interval": 3})
    _, slices = make_case(config, seed=1)
    batch, network = made(config, slices)
    inputs, targets = loaded(config, batch), LocalTargets(network, config)
    seen = []
    for train_step in range(7):
        moved(network, seed=train_step)
        seen.append(targets.complete(inputs, train_step).values.numpy())
    same = [bool(np.array_equal(*pair)) for pair in itertools.pairwise(seen)]
    assert same == [True, True, False, True, True, False]
    fresh = LocalTargets(network, config).complete(inputs, 1).values
    np.testing.assert_array_equal(seen[-1], fresh)


def test_frozen_weights_are_saved_broadcast_and_forked():
    config = changed(make_config(), learner=LOCAL)
    _, slices = make_case(config, seed=1)
    batch, network = made(config, slices)
    inputs = loaded(config, batch)

    def states(net):
        targets = LocalTargets(net, config)
        return targets, TrainState(net, make_optimizer(net, config), targets=targets)

    targets, training = states(network)
    moved(network, seed=2)  # the frozen weights are older than the live ones
    wanted = targets.complete(inputs, 1).values
    saved = training.state()
    for how in ("restored", "followed", "adopted"):
        other = moved(make_maker(config)[1].network, seed=3)
        others, follower = states(other)
        if how == "followed":
            follower.follow(
                State(network.state_dict(), training._optimizer.state_dict(), targets.state_dict())
            )
        else:
            (follower.restore if how == "restored" else follower.adopt)(saved)
        np.testing.assert_array_equal(others.complete(inputs, 1).values, wanted)
    without = {name: entry for name, entry in saved.items() if name != "target_network"}
    others, follower = states(moved(make_maker(config)[1].network, seed=3))
    follower.adopt(without)
    newest = LocalTargets(network, config).complete(inputs, 1).values
    np.testing.assert_array_equal(others.complete(inputs, 1).values, newest)
    assert not np.array_equal(newest, wanted)


def test_a_learner_without_local_targets_saves_sends_and_builds_nothing():
    config = tiny_config()
    batch, network = training_batch(config), make_maker(make_config())[1].network
    assert batch.bootstrap_offsets.size == batch.bootstrap_discounts.size == 0
    assert batch.frames.shape[1] == config.env.num_stacked_frames + config.agent.num_unroll_steps
    assert local_targets(network, config) is None
    assert "target_network" not in TrainState(network, make_optimizer(network, config)).state()


def test_bootstrap_observations_are_not_augmented_and_the_others_are_as_before():
    config = changed(tiny_config(), learner={"augmentation": True, "shift_pixels": 2})
    local = changed(config, learner=LOCAL)
    batch = training_batch(local)
    spec, stacked = probe_env_spec(local.env), local.env.num_stacked_frames
    num_frames = stacked + local.agent.num_unroll_steps
    seeds = seed_sequence(0, "learner", 0, 1)
    inputs, plain = (
        loader.load(loader.send(given), 0)
        for loader, given in (
            (BatchLoader(local, spec, CPU, seeds), batch),
            (
                BatchLoader(config, spec, CPU, seed_sequence(0, "learner", 0, 1)),
                batch._replace(frames=batch.frames[:, :num_frames].copy()),
            ),
        )
    )
    torch.testing.assert_close(inputs.root_observations, plain.root_observations, rtol=0, atol=0)
    torch.testing.assert_close(inputs.next_observations, plain.next_observations, rtol=0, atol=0)
    for b, row in enumerate(batch.bootstrap_offsets):
        for k, offset in enumerate(row):
            wanted = np.concatenate(list(batch.frames[b, offset : offset + stacked]))
            np.testing.assert_array_equal(inputs.bootstrap_observations[b, k], wanted)


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("bootstrap_offsets", None, "0 to K \\+ n"),
        ("bootstrap_offsets", -1, "0 to K \\+ n"),
        ("bootstrap_discounts", 1.5, "0 to 1"),
    ],
)
def test_offsets_past_the_window_are_refused_before_they_reach_the_device(field, value, wanted):
    config = changed(tiny_config(), learner=LOCAL)
    last = config.agent.num_unroll_steps + config.agent.td_steps
    value = last + 1 if value is None else value
    batch = training_batch(config)
    getattr(batch, field)[0, 0] = value
    checks = BatchChecks(config, probe_env_spec(config.env), largest_target=1e9)
    with pytest.raises(BadBatch, match=f"{field}: got 1 out of range, wanted {wanted}"):
        checks.check(batch)


def test_without_policy_searches_no_batch_is_too_old():
    config = changed(tiny_config(), learner={**LOCAL, "policy_coefficient": 0.0})
    assert Freshness(config).admits(training_batch(config), 10**6)
    searching = changed(config, learner={"policy_coefficient": 1.0})
    assert not Freshness(searching).admits(training_batch(searching), 10**6)


@pytest.mark.parametrize(
    ("reanalyzer", "wanted"),
    [
        ({"value_bootstrap": "search"}, "with reanalyzer.value_bootstrap search"),
        ({"value_target": "search"}, "with reanalyzer.value_target search"),
    ],
)
def test_targets_that_only_a_reanalyzer_can_make_are_refused(reanalyzer, wanted):
    config = changed(tiny_config(), learner=LOCAL, reanalyzer=reanalyzer)
    with pytest.raises(ConfigError, match=f"^learner.target_network: got local {wanted}"):
        validate(config)


C51 = {"agent": {"value_distribution": "categorical"}, "learner": LOCAL}


def test_distributions_of_returns_are_those_of_the_frozen_heads_moved_by_the_rewards():
    config = changed(make_config(), **C51, network={"value_transform": "identity"})
    config = changed(config, network={"support_bound": 10, "support_bins": 51})
    _, slices = make_case(config, seed=3)
    batch, network = made(config, slices)
    inputs = loaded(config, batch)
    completed = LocalTargets(network, config).complete(inputs, 1)
    assert completed.value_distributions.shape == (*inputs.values.shape, 51)
    for b in range(8):
        for k in range(config.agent.num_unroll_steps + 1):
            observation = inputs.bootstrap_observations[b, k][None]
            logits = network.initial_inference(observation).value_logits[0].double()
            wanted = projected(
                logits.softmax(-1).tolist(),
                float(inputs.values[b, k]),
                float(inputs.bootstrap_discounts[b, k]),
                bound=10,
                is_transformed=False,
            )
            got = completed.value_distributions[b, k]
            torch.testing.assert_close(got, torch.tensor(wanted), rtol=0, atol=1e-5)
    means = (completed.value_distributions * network.support.atoms()).sum(-1)
    is_inside = inputs.values.abs() + 10 * inputs.bootstrap_discounts < 10  # no atom is clipped
    assert is_inside.float().mean() > 0.3
    torch.testing.assert_close(means[is_inside], completed.values[is_inside], rtol=0, atol=1e-4)


def test_the_loss_and_the_priorities_are_those_of_the_distributions():
    config = case(**C51, replay={"priority": "kl"})
    network, batch = make_network(config).float(), in_float32(make_batch(config))
    shape = (*batch.values.shape, network.support.num_bins)
    targets = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    targets[0, 0] = 0.0
    targets[0, 0, 2] = 1.0  # a point: its entropy is 0
    targets /= targets.sum(-1, keepdim=True)
    batch = dataclasses.replace(batch, value_distributions=targets)
    terms = compute_loss(
        network, batch, loss_parts(config), agent=config.agent, priority=priority_rule(config)
    )
    logits = terms.value_logits
    wanted = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(0, 1), reduction="none"
    ).view(batch.values.shape)
    reached = torch.cat([torch.ones_like(batch.mask[:, :1]), batch.mask], 1)
    torch.testing.assert_close(terms.parts["value"], reached * wanted)
    divergences = torch.nn.functional.kl_div(
        logits[:, 0].log_softmax(-1), targets[:, 0], reduction="none"
    ).sum(-1)
    torch.testing.assert_close(terms.priorities, divergences, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"agent": {"value_distribution": "categorical"}},
            "agent.value_distribution: got categorical with learner.target_network reanalyzer",
        ),
        (
            {**C51, "network": {"categorical_values": False}},
            "agent.value_distribution: got categorical with network.categorical_values off",
        ),
        (
            {"replay": {"priority": "kl"}},
            "replay.priority: got kl with agent.value_distribution two_hot",
        ),
        (
            {**C51, "replay": {"priority": "kl", "initial_priority": "value_error"}},
            "replay.initial_priority: got value_error with replay.priority kl, wanted max",
        ),
        (
            {**C51, "replay": {"priority": "kl", "priority_refresh_share": 0.5}},
            "replay.priority_refresh_share: got 0.5 with replay.priority kl, wanted 0",
        ),
    ],
)
def test_distributions_that_nothing_could_make_are_refused(sections, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        validate(changed(tiny_config(), **sections))
