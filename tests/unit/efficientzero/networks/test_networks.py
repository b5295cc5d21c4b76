"""The network: the reference's sizes, torch's own LSTM, and what callers rely on."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor, nn

from efficientzero.config.fields import NetworkConfig
from efficientzero.networks import (
    EfficientZeroNet,
    InitialInference,
    RecurrentInference,
    inference_entries,
)
from efficientzero.networks.blocks import LstmCell
from efficientzero.schema import EnvSpec
from tests.support.networks import sized_network, tensors_of

ATARI = EnvSpec(
    env_id="image",
    frame_shape=(3, 96, 96),
    frame_dtype="uint8",
    num_actions=18,
    num_stacked_frames=4,
)
SMALL_IMAGE = EnvSpec(
    env_id="small", frame_shape=(1, 10, 5), frame_dtype="uint8", num_actions=3, num_stacked_frames=2
)
VECTOR = EnvSpec(
    env_id="vector", frame_shape=(4,), frame_dtype="float32", num_actions=2, num_stacked_frames=1
)
SMALL = NetworkConfig(
    channels=8,
    reduced_channels=4,
    mlp_latent_size=16,
    mlp_hidden_size=24,
    lstm_hidden_size=12,
    projector_hidden_size=16,
    projection_size=16,
    predictor_hidden_size=8,
    support_bound=5,
    zero_init_heads=False,
)


def build(
    spec: EnvSpec,
    config: NetworkConfig = SMALL,
    *,
    value_prefix: bool = True,
    projection: bool = True,
) -> EfficientZeroNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return sized_network(config, spec, value_prefix=value_prefix, training=projection)


def random_observations(spec: EnvSpec, batch: int) -> Tensor:
    generator = torch.Generator().manual_seed(batch)
    shape = (batch, *spec.observation_shape)
    if spec.is_image:
        return torch.randint(0, 256, shape, generator=generator).to(torch.uint8)
    return torch.randn(shape, generator=generator)


def random_actions(spec: EnvSpec, batch: int) -> Tensor:
    return torch.randint(0, spec.num_actions, (batch,), generator=torch.Generator().manual_seed(1))


def run_both(
    net: EfficientZeroNet, observations: Tensor
) -> tuple[InitialInference, RecurrentInference]:
    root = net.initial_inference(observations)
    states = net.initial_lstm_states(len(observations))
    actions = random_actions(net.spec, len(observations))
    return root, net.recurrent_inference(root.latents, states, actions)


def num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture(scope="module")
def atari_net() -> EfficientZeroNet:
    return build(ATARI, NetworkConfig()).eval()


@pytest.mark.parametrize(
    ("part", "wanted"),
    [
        ("representation", 318_016),
        ("dynamics", 111_552),
        ("value_prefix_head", 2_270_729),
        ("value_prefix_head.lstm", 2_232_320),
        ("prediction", 133_611),
        ("projector", 4_465_664),
        ("predictor", 1_051_136),
    ],
)
def test_parameter_count_is_the_references(
    atari_net: EfficientZeroNet, part: str, wanted: int
) -> None:
    assert num_parameters(atari_net.get_submodule(part)) == wanted


def test_inference_weights_leave_out_two_thirds_of_the_parameters(
    atari_net: EfficientZeroNet,
) -> None:
    trained = {name for name, _ in atari_net.named_parameters()}
    state = atari_net.inference_state_dict()
    assert sum(v.numel() for k, v in state.items() if k in trained) == 2_833_908
    assert num_parameters(atari_net) == 8_350_708


def test_reference_network_maps_96x96_frames_to_a_64x6x6_latent(
    atari_net: EfficientZeroNet,
) -> None:
    with torch.inference_mode():
        root, step = run_both(atari_net, random_observations(ATARI, 2))
    assert atari_net.latent_shape == (64, 6, 6)
    assert root.latents.shape == step.latents.shape == (2, 64, 6, 6)
    assert root.value_logits.shape == step.value_prefix_logits.shape == (2, 601)
    assert step.value_logits.shape == (2, 601)
    assert root.policy_logits.shape == step.policy_logits.shape == (2, 18)
    assert step.lstm_states.shape == (2, 2, 512)
    assert atari_net.project(root.latents, with_predictor=True).shape == (2, 1024)
    assert root.latents.min() >= 0 and step.latents.min() >= 0


def test_zero_initialised_heads_give_a_uniform_policy_and_zero_value_and_prefix(
    atari_net: EfficientZeroNet,
) -> None:
    with torch.inference_mode():
        root, step = run_both(atari_net, random_observations(ATARI, 2))
    zeros = torch.zeros(2)
    for logits in (root.value_logits, step.value_logits, step.value_prefix_logits):
        torch.testing.assert_close(atari_net.support.decode(logits), zeros, rtol=0, atol=1e-5)
    for policy_logits in (root.policy_logits, step.policy_logits):
        torch.testing.assert_close(policy_logits.softmax(1), torch.full((2, 18), 1 / 18))


@pytest.mark.parametrize("size", [(10, 5), (32, 40), (33, 33), (48, 80), (84, 84), (97, 64)])
def test_declared_latent_shape_is_the_real_one_for_any_image_size(size: tuple[int, int]) -> None:
    spec = dataclasses.replace(SMALL_IMAGE, frame_shape=(1, *size))
    net = build(spec).eval()
    with torch.inference_mode():
        root, step = run_both(net, random_observations(spec, 1))
    assert root.latents.shape == step.latents.shape == (1, *net.latent_shape)
    is_full_resolution = min(size) <= 32
    wanted = size if is_full_resolution else tuple(math.ceil(side / 16) for side in size)
    assert net.latent_shape[1:] == wanted


@pytest.mark.parametrize("spec", [SMALL_IMAGE, VECTOR])
def test_two_blocks_per_stage_run(spec: EnvSpec) -> None:
    config = dataclasses.replace(SMALL, num_blocks=2)
    _, step = run_both(build(spec, config), random_observations(spec, 3))
    assert num_parameters(build(spec, config)) > num_parameters(build(spec))
    assert step.latents.shape == (3, *build(spec).latent_shape)


@pytest.mark.parametrize("spec", [SMALL_IMAGE, VECTOR])
def test_batch_element_does_not_depend_on_its_neighbours_in_eval_mode(spec: EnvSpec) -> None:
    net = build(spec).eval()
    observations = random_observations(spec, 5)
    with torch.inference_mode():
        together = net.initial_inference(observations)
        states = torch.randn(5, 2, 12, generator=torch.Generator().manual_seed(2))
        actions = random_actions(spec, 5)
        steps = net.recurrent_inference(together.latents, states, actions)
        for b in range(5):
            alone = net.initial_inference(observations[b : b + 1])
            step = net.recurrent_inference(
                together.latents[b : b + 1], states[b : b + 1], actions[b : b + 1]
            )
            for batched, single in zip(
                tensors_of(together, steps), tensors_of(alone, step), strict=True
            ):
                torch.testing.assert_close(batched[b : b + 1], single, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("spec", [SMALL_IMAGE, VECTOR])
def test_every_action_leads_elsewhere(spec: EnvSpec) -> None:
    net = build(spec).eval()
    observations = random_observations(spec, 1).repeat(
        spec.num_actions, *[1] * len(spec.frame_shape)
    )
    with torch.inference_mode():
        latents = net.initial_inference(observations).latents
        step = net.recurrent_inference(
            latents, net.initial_lstm_states(spec.num_actions), torch.arange(spec.num_actions)
        )
    flat = step.latents.flatten(1)
    assert torch.pdist(flat).min() > 1e-3


def test_action_plane_is_the_action_index_over_the_number_of_actions() -> None:
    net = build(SMALL_IMAGE).eval()
    seen: list[Tensor] = []
    net.dynamics.get_submodule("conv").register_forward_hook(
        lambda _m, args, _o: seen.append(args[0])
    )
    latents = torch.rand(3, *net.latent_shape)
    net.dynamics(latents, torch.tensor([0, 1, 2]))
    torch.testing.assert_close(seen[0][:, :-1], latents)
    wanted = torch.tensor([0.0, 1 / 3, 2 / 3]).view(3, 1, 1).expand(3, 10, 5)
    torch.testing.assert_close(seen[0][:, -1], wanted)


def test_uint8_observations_are_divided_by_255() -> None:
    net = build(SMALL_IMAGE).eval()
    pixels = random_observations(SMALL_IMAGE, 4)
    with torch.inference_mode():
        from_pixels = net.initial_inference(pixels)
        from_floats = net.initial_inference(pixels.float() / 255)
        representation = net.representation(pixels)
    for a, b in zip(tensors_of(from_pixels), tensors_of(from_floats), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(representation, from_pixels.latents)


def test_lstm_cell_equals_torchs_lstm_over_three_steps() -> None:
    cell, reference = LstmCell(6, 4), nn.LSTM(6, 4)
    parameters = dict(reference.named_parameters())
    with torch.no_grad():
        cell.weight.copy_(torch.cat([parameters["weight_ih_l0"], parameters["weight_hh_l0"]], 1))
        cell.bias_input.copy_(parameters["bias_ih_l0"])
        cell.bias_hidden.copy_(parameters["bias_hh_l0"])
    inputs = torch.randn(3, 5, 6, generator=torch.Generator().manual_seed(3))  # [steps, B, 6]
    outputs, (h, c) = reference(inputs)
    states = torch.zeros(5, 2, 4)
    for x, wanted in zip(inputs, outputs, strict=True):
        states = cell(x, states)
        torch.testing.assert_close(states[:, 0], wanted)
    torch.testing.assert_close(states, torch.stack([h[0], c[0]], dim=1))
    assert num_parameters(cell) == num_parameters(reference)


def test_value_prefix_depends_on_the_lstm_states_and_nothing_else_does() -> None:
    net = build(SMALL_IMAGE).eval()
    latents, actions = torch.rand(2, *net.latent_shape), torch.tensor([0, 1])
    fresh = net.recurrent_inference(latents, net.initial_lstm_states(2), actions)
    later = net.recurrent_inference(latents, fresh.lstm_states, actions)
    assert not torch.allclose(fresh.value_prefix_logits, later.value_prefix_logits)
    assert torch.equal(fresh.latents, later.latents)
    assert torch.equal(fresh.value_logits, later.value_logits)
    assert torch.equal(fresh.policy_logits, later.policy_logits)


@pytest.mark.parametrize("spec", [SMALL_IMAGE, VECTOR])
def test_without_value_prefix_there_is_no_lstm_and_the_states_pass_through(spec: EnvSpec) -> None:
    net = build(spec, value_prefix=False)
    states = net.initial_lstm_states(3)
    _, step = run_both(net, random_observations(spec, 3))
    assert states.shape == step.lstm_states.shape == (3, 2, 0)
    assert step.value_prefix_logits.shape == (3, 11)
    assert not any("lstm" in name for name in net.state_dict())


@pytest.mark.parametrize("spec", [SMALL_IMAGE, VECTOR])
def test_projection_is_built_on_demand_and_changes_no_other_weight(spec: EnvSpec) -> None:
    full, small = build(spec), build(spec, projection=False)
    wanted = full.inference_state_dict()
    assert small.state_dict().keys() == small.inference_state_dict().keys() == wanted.keys()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in small.state_dict().items())
    assert len(full.state_dict()) > len(wanted)
    small.load_inference_state_dict(inference_entries(full.state_dict()))


@pytest.mark.parametrize("spec", [SMALL_IMAGE, VECTOR])
def test_values_as_numbers_have_one_output_each_and_the_same_trunk(spec: EnvSpec) -> None:
    net = build(spec, dataclasses.replace(SMALL, categorical_values=False)).eval()
    root, step = run_both(net, random_observations(spec, 3))
    for output in (root.value_logits, step.value_logits, step.value_prefix_logits):
        assert output.shape == (3, 1)
        assert net.support.decode(output).shape == (3,)
    categorical = build(spec)
    assert net.state_dict().keys() == categorical.state_dict().keys()
    different = {
        name
        for name, tensor in net.state_dict().items()
        if tensor.shape != categorical.state_dict()[name].shape
    }
    ends = ("output.weight", "output.bias")
    assert all(name.endswith(ends) for name in different)
    assert {name.split(".")[0] for name in different} == {"prediction", "value_prefix_head"}


@pytest.mark.parametrize("spec", [SMALL_IMAGE, VECTOR])
def test_training_mode_differs_from_eval_mode_by_batch_norm_alone(spec: EnvSpec) -> None:
    net = build(spec).train()
    observations = random_observations(spec, 4)
    run_both(net, observations)  # moves the running statistics away from their start
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.eval()
    training = run_both(net, observations)
    evaluating = run_both(net.eval(), observations)
    for a, b in zip(tensors_of(*training), tensors_of(*evaluating), strict=True):
        assert torch.equal(a, b)


def test_vector_network_has_no_batch_norm_outside_simsiam() -> None:
    names = [name for name, m in build(VECTOR).named_modules() if isinstance(m, nn.BatchNorm1d)]
    assert names and all(name.startswith(("projector.", "predictor.")) for name in names)


def test_vector_latents_stay_on_one_sphere_for_huge_inputs_and_long_unrolls() -> None:
    net = build(VECTOR).eval()
    root = net.initial_inference(random_observations(VECTOR, 3) * 1e6)
    latents, states = root.latents, net.initial_lstm_states(3)
    for _ in range(30):
        step = net.recurrent_inference(latents, states, torch.tensor([0, 1, 0]))
        latents, states = step.latents, step.lstm_states
    torch.testing.assert_close(latents.mean(1), torch.zeros(3), rtol=0, atol=1e-4)
    torch.testing.assert_close(latents.square().mean(1), torch.ones(3), rtol=0, atol=1e-2)


@pytest.mark.parametrize("spec", [SMALL_IMAGE, VECTOR])
def test_every_parameter_receives_a_gradient_from_one_unrolled_step(spec: EnvSpec) -> None:
    net = build(spec).train()
    root, step = run_both(net, random_observations(spec, 4))
    states = step.lstm_states
    again = net.recurrent_inference(step.latents, states, random_actions(spec, 4))
    projections = net.project(again.latents, with_predictor=True)
    outputs = (*tensors_of(root, again), projections)
    torch.stack([output.square().mean() for output in outputs]).sum().backward()
    unused = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    # A bias just before a BatchNorm has a gradient of zero up to rounding; None or all zero is
    # still reported for weights.
    assert [name for name in unused if name.endswith("weight")] == []
    assert all(parameter.grad is not None for parameter in net.parameters())


@pytest.mark.parametrize("spec", [SMALL_IMAGE, VECTOR])
def test_outputs_are_float32_and_close_under_bfloat16_autocast(spec: EnvSpec) -> None:
    net = build(spec).eval()
    observations = random_observations(spec, 4)
    with torch.inference_mode():
        exact = run_both(net, observations)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = run_both(net, observations)
            projections = net.project(rounded[0].latents, with_predictor=True)
    assert projections.dtype == torch.float32
    for a, b in zip(tensors_of(*exact), tensors_of(*rounded), strict=True):
        assert b.dtype == torch.float32
        torch.testing.assert_close(a, b, rtol=0.1, atol=0.1)


def test_bfloat16_training_step_has_finite_gradients() -> None:
    net = build(SMALL_IMAGE).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        root, step = run_both(net, random_observations(SMALL_IMAGE, 4))
        values = torch.tensor([0.0, 1.0, -2.0, 5.0])
        loss = net.support.loss(step.value_prefix_logits, values).mean()
        loss = loss + net.support.loss(root.value_logits, values).mean()
    loss.backward()
    gradients = [p.grad for p in net.parameters() if p.grad is not None]
    assert gradients and all(torch.isfinite(gradient).all() for gradient in gradients)


def test_loaded_inference_weights_give_the_same_answers_in_the_same_tensors() -> None:
    source, target = build(SMALL_IMAGE).eval(), build(SMALL_IMAGE).eval()
    with torch.no_grad():
        for tensor in source.inference_state_dict().values():
            tensor.add_(torch.ones_like(tensor))
    addresses = {k: v.data_ptr() for k, v in target.inference_state_dict().items()}
    observations = random_observations(SMALL_IMAGE, 2)
    target.load_inference_state_dict(source.inference_state_dict())
    assert {k: v.data_ptr() for k, v in target.inference_state_dict().items()} == addresses
    wanted, got = run_both(source, observations), run_both(target, observations)
    for a, b in zip(tensors_of(*wanted), tensors_of(*got), strict=True):
        assert torch.equal(a, b)


def test_unfitting_inference_weights_are_refused_and_change_nothing() -> None:
    net = build(VECTOR)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    good = {k: v + 1 for k, v in net.inference_state_dict().items()}
    name = "dynamics.action_block.output.bias"
    with pytest.raises(ValueError, match=f"missing tensor '{name}'"):
        net.load_inference_state_dict({k: v for k, v in good.items() if k != name})
    with pytest.raises(ValueError, match=r"unexpected tensor 'projector.0.bias'"):
        net.load_inference_state_dict({**good, "projector.0.bias": torch.zeros(16)})
    with pytest.raises(ValueError, match=rf"'{name}': got shape \(3,\), wanted \(16,\)"):
        net.load_inference_state_dict({**good, name: torch.zeros(3)})
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_wrong_shapes_are_refused_by_name() -> None:
    net = build(SMALL_IMAGE).eval()
    latents, actions = torch.rand(2, *net.latent_shape), torch.tensor([0, 1])
    with pytest.raises(ValueError, match=r"observations: got shape \(2, 1, 10, 5\)"):
        net.initial_inference(torch.zeros(2, 1, 10, 5))
    with pytest.raises(
        ValueError, match=r"lstm_states: got shape \(1, 2, 12\), wanted \(2, 2, 12\)"
    ):
        net.recurrent_inference(latents, net.initial_lstm_states(1), actions)
    with pytest.raises(ValueError, match=r"latents: got shape \(1, 8, 10, 5\)"):
        net.recurrent_inference(latents[:1], net.initial_lstm_states(2), actions)
    matrix = dataclasses.replace(VECTOR, frame_shape=(4, 4))
    with pytest.raises(ValueError, match=r"got \(4, 4\), wanted \(C, H, W\) or \(D,\)"):
        build(matrix)


def test_answers_do_not_depend_on_the_memory_layout_of_latents() -> None:
    net = build(SMALL_IMAGE).eval()
    latents, actions = torch.rand(2, *net.latent_shape), torch.tensor([0, 1])
    plain = net.recurrent_inference(latents, net.initial_lstm_states(2), actions)
    last = latents.contiguous(memory_format=torch.channels_last)
    other = net.recurrent_inference(last, net.initial_lstm_states(2), actions)
    for a, b in zip(tensors_of(plain), tensors_of(other), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_captured_cuda_graph_replays_with_new_inputs_and_weights() -> None:
    net = build(SMALL_IMAGE).eval().cuda()
    latents, states = torch.rand(4, *net.latent_shape).cuda(), net.initial_lstm_states(4)
    actions = torch.zeros(4, dtype=torch.int64).cuda()
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    with torch.inference_mode():
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            net.recurrent_inference(latents, states, actions)
        torch.cuda.current_stream().wait_stream(stream)
        with torch.cuda.graph(graph):
            captured = net.recurrent_inference(latents, states, actions)
        latents.uniform_()
        net.load_inference_state_dict({k: v * 2 for k, v in net.inference_state_dict().items()})
        graph.replay()
        wanted = net.recurrent_inference(latents, states, actions)
    for a, b in zip(tensors_of(captured), tensors_of(wanted), strict=True):
        torch.testing.assert_close(a, b)
