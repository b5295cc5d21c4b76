"""The reconstruction loss by hand, its schedule, and what its decoder is made of."""

import dataclasses

import pytest
import torch

from efficientzero.metrics.section_timer import SectionTimer
from efficientzero.networks.images.decoder import make_decoder
from efficientzero.schema import EnvSpec
from learner.training.losses import LossPart, Unrolled, parts_at
from learner.training.losses.reconstruction import reconstruction
from learner.training.optimizers import make_optimizer
from learner.training.update import Updater
from tests.support.cases.loss_cases import (
    CONFIG,
    IMAGE,
    VECTOR,
    case,
    in_float32,
    loss_of,
    make_batch,
    make_network,
)

ON = {"reconstruction_coefficient": 1.0, "lr_warmup_fraction": 0.0, "learning_rate": 0.1}


def network_of(config, spec=IMAGE):
    return make_network(config, spec).float()


def batch_of(config, spec=IMAGE, seed=0):
    return in_float32(make_batch(config, spec, seed=seed))


def zeroed(network):
    last = [layer for layer in network.decoder.layers if list(layer.parameters())][-1]
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.zeros_(last.bias)
    return network


def test_loss_of_a_zero_decoder_by_hand():
    config = case(learner=ON)
    batch = batch_of(config)
    constant = dataclasses.replace(
        batch,
        root_observations=torch.full_like(batch.root_observations, 51),
        next_observations=torch.full_like(batch.next_observations, 102),
    )
    part = loss_of(zeroed(network_of(config)), constant, config).parts["reconstruction"]
    assert part[:, 0].tolist() == pytest.approx([(51 / 255) ** 2] * 5)
    wanted = (102 / 255) ** 2 * batch.mask
    torch.testing.assert_close(part[:, 1:], wanted, rtol=1e-6, atol=0)


def test_the_target_is_the_newest_frame_only():
    config = case(learner=ON)
    network, batch = zeroed(network_of(config)), batch_of(config)
    older = batch.root_observations.clone()
    older[:, 0] = 255  # of two frames of one channel
    newer = batch.root_observations.clone()
    newer[:, 1] = 255
    losses = [
        loss_of(network, dataclasses.replace(batch, root_observations=seen), config)
        .parts["reconstruction"][:, 0]
        .tolist()
        for seen in (batch.root_observations, older, newer)
    ]
    assert losses[0] == losses[1] != losses[2] == pytest.approx([1.0] * 5)


def test_without_unrolled_steps_the_root_alone_is_decoded():
    network, batch = network_of(case(learner=ON), VECTOR), batch_of(CONFIG, VECTOR)
    latents = network.representation(batch.root_observations)
    none = torch.empty(0)
    unrolled = Unrolled(network, [latents], none, none, none, None)
    alone = reconstruction(unrolled, dataclasses.replace(batch, next_observations=None))
    wanted = network.decoder(latents) - batch.root_observations.sign() * torch.log1p(
        batch.root_observations.abs()
    )
    torch.testing.assert_close(alone, wanted.square().mean(1, keepdim=True))


@pytest.mark.parametrize(
    ("train_step", "wanted"),
    [(0, 1.0), (50, 0.5), (75, 0.25), (99, 0.01), (100, None), (500, None)],
)
def test_coefficient_falls_linearly_and_the_part_ends(train_step, wanted):
    fixed = LossPart("policy", 0.25, reconstruction)
    falling = LossPart("reconstruction", 1.0, reconstruction, decay_train_steps=100)
    found = {p.name: p.coefficient for p in parts_at((fixed, falling), train_step)}
    assert found.pop("policy") == 0.25
    assert found.get("reconstruction") == (wanted and pytest.approx(wanted))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "lars"])
def test_after_its_end_the_decoder_does_no_work_and_does_not_move(optimizer):
    config = case(learner={**ON, "reconstruction_train_steps": 2, "optimizer": optimizer})
    network = network_of(config)
    updater = Updater(network, make_optimizer(network, config), config, SectionTimer("learner"))
    calls = []
    network.decoder.register_forward_hook(lambda *_: calls.append(1))
    weights, moved = None, []
    for step in range(4):
        batch = batch_of(config, seed=step)
        update = updater.step(batch, step, measure=True)
        updater.finish(update)
        assert ("reconstruction" in update.terms.parts) == (step < 2)
        now = [tensor.clone() for tensor in network.decoder.state_dict().values()]
        if weights is not None:
            moved.append(any(not torch.equal(a, b) for a, b in zip(weights, now, strict=True)))
        weights = now
    assert len(calls) == 2
    assert moved == [True, False, False]
    assert all(weight.grad is None for weight in network.decoder.parameters())


@pytest.mark.parametrize("step", [0, 1])
def test_gradient_reaches_the_encoder_and_through_the_model_the_dynamics(step):
    network, batch = network_of(case(learner=ON)), batch_of(CONFIG)
    off = {f"{part}_coefficient": 0.0 for part in ("policy", "value", "value_prefix")}
    config = case(learner={**ON, **off, "consistency_coefficient": 0.0})
    batch = dataclasses.replace(batch, mask=batch.mask * step)  # 0: the root's column alone
    loss_of(network, batch, config).total.backward()
    assert sum(float(w.grad.abs().sum()) for w in network.representation.parameters()) > 0
    dynamics = [w.grad for w in network.dynamics.parameters()]
    assert any(g is not None and g.abs().sum() > 0 for g in dynamics) == bool(step)


@pytest.mark.parametrize("size", [(96, 96), (10, 5), (33, 21), (64, 84)])
@pytest.mark.parametrize("trunk", ["auto", "mlp"])
@pytest.mark.parametrize("downsample", [1, 4, 16])
def test_frames_of_any_size_come_back_in_theirs(size, trunk, downsample):
    spec = EnvSpec(
        env_id="x",
        frame_shape=(3, *size),
        frame_dtype="uint8",
        num_actions=2,
        num_stacked_frames=1,
    )
    config = case(network={"trunk": trunk, "downsample": downsample})
    config = dataclasses.replace(config, learner=dataclasses.replace(config.learner, **ON))
    network = network_of(config, spec)
    decoder = make_decoder(config.network, spec, network.latent_shape)
    assert decoder(torch.rand(2, *network.latent_shape)).shape == (2, 3, *size)


def test_the_decoder_comes_last_and_changes_no_other_weight():
    plain, ours = (
        network_of(case(learner={"consistency": "spr", **more})).state_dict() for more in ({}, ON)
    )
    own = [name for name in ours if name not in plain]
    assert own
    assert all(name.startswith("decoder.") for name in own)
    assert list(ours) == [*plain, *own]
    assert all(torch.equal(ours[name], tensor) for name, tensor in plain.items())
