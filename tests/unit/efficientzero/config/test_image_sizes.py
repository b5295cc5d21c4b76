"""How far images are downsampled: chosen by their size, never changed for a run that exists."""

import dataclasses
import json
import math
from datetime import datetime
from pathlib import Path

import pytest
import torch

from deploy.launching.config_checks import check_config
from deploy.launching.prepare import prepare, prepare_resume
from efficientzero.config.fields import Config, NetworkConfig
from efficientzero.config.files import config_hash
from efficientzero.config.image_sizes import chosen_downsample, downsample_of, with_downsample
from efficientzero.config.preset_files import load_preset
from efficientzero.runs.run_folder import RunInfo
from efficientzero.schema import EnvSpec
from learner.training.network import describe_network, train_step_cost
from tests.support.networks import sized_network


def images(height, width, channels=3):
    return EnvSpec(
        env_id="x",
        frame_shape=(channels, height, width),
        frame_dtype="uint8",
        num_actions=4,
        num_stacked_frames=1,
    )


def network_of(spec, config, *, value_prefix=True):
    with torch.device("meta"):
        return sized_network(config, spec, value_prefix=value_prefix, training=True)


@pytest.mark.parametrize(
    ("side", "factor"),
    [
        *((8, 1), (10, 1), (11, 2), (14, 2), (15, 4), (28, 4), (29, 8), (48, 8), (56, 8)),
        *((57, 16), (64, 16), (84, 16), (96, 16), (210, 16)),
    ],
)
def test_the_factor_follows_the_size(side, factor):
    assert chosen_downsample((side, side)) == factor


@pytest.mark.parametrize("height", range(3, 97, 6))
def test_no_size_makes_a_call_cost_much_more_than_another(height):
    for width in range(3, 97, 5):
        cells = math.prod(
            math.ceil(side / chosen_downsample((height, width))) for side in (height, width)
        )
        assert cells <= (100 if height * width <= 100 else 49)


@pytest.mark.parametrize("factor", [1, 2, 4, 8, 16, 32])
@pytest.mark.parametrize("size", [(11, 11), (17, 32), (33, 20), (48, 63)])
def test_latents_are_as_small_as_declared(size, factor):
    config = NetworkConfig(channels=4, lstm_hidden_size=4, downsample=factor)
    with torch.inference_mode():
        net = sized_network(config, images(*size)).eval()
        latents = net.initial_inference(torch.zeros(1, 3, *size)).latents
    assert net.latent_shape[1:] == tuple(math.ceil(side / factor) for side in size)
    assert latents.shape[1:] == net.latent_shape


def test_a_config_without_a_number_has_the_network_of_runs_from_before():
    sizes = {(20, 20): 1, (32, 40): 1, (33, 33): 16, (48, 80): 16}
    assert {size: downsample_of(NetworkConfig(), images(*size)) for size in sizes} == sizes
    chosen = with_downsample(Config(), images(20, 20))
    assert chosen.network.downsample == 4
    assert config_hash(chosen) != config_hash(Config())  # another experiment than those runs
    assert with_downsample(chosen, images(48, 48)) == chosen  # a number stays


def atari(side):
    preset = load_preset("atari-small")
    game = dataclasses.replace(preset.env.atari, image_size=side)
    env = dataclasses.replace(preset.env, atari=game)
    tracking = dataclasses.replace(preset.tracking, mode="disabled")
    return dataclasses.replace(preset, env=env, tracking=tracking)


def prepared(config, tmp_path):
    return prepare(
        config, run_id="x", runs_dir=tmp_path, checkout=Path.cwd(), now=datetime(2026, 1, 1)
    )


def test_the_launcher_writes_the_choice_into_the_runs_config_and_its_name(tmp_path):
    checked = check_config(atari(32))
    run = prepared(atari(32), tmp_path).run
    assert checked.config.network.downsample == run.config.network.downsample == 8
    assert RunInfo.load(run.config_path).config == run.config
    assert "downsample=8" in run.group == checked.group
    assert check_config(atari(64)).config == atari(64)


def test_a_run_from_before_goes_on_with_its_own_network(tmp_path):
    run = prepared(atari(32), tmp_path).run
    values = json.loads(run.config_path.read_text())
    del values["config"]["network"]["downsample"]
    values["config_hash"] = config_hash(atari(32))
    run.config_path.write_text(json.dumps(values))
    older = RunInfo.load(run.config_path)
    resumed = prepare_resume(older, older.config).run
    assert resumed.config_hash == older.config_hash == config_hash(atari(32))
    assert network_of(resumed.env_spec, resumed.config.network).latent_shape == (32, 32, 32)


def test_the_learner_names_the_networks_size_and_what_a_train_step_costs():
    config = atari(32)
    spec = images(32, 32)
    costs = {}
    for downsample in (1, 8):
        sizes = dataclasses.replace(config.network, downsample=downsample)
        network = sized_network(sizes, spec, training=True).train()
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        costs[downsample] = train_step_cost(network, config)
        text = describe_network(network, config)
        assert network.training
        for name, tensor in network.state_dict().items():
            assert torch.equal(tensor, before[name]), name
    assert text.startswith("latent 32x4x4, 0.")
    assert "to train and" in text and text.endswith("to search")
    assert costs[1].searching > 20 * costs[8].searching
    assert costs[1].training > 5 * costs[8].training
    unsearched = dataclasses.replace(
        config, reanalyzer=dataclasses.replace(config.reanalyzer, policy_reanalyze_ratio=0.0)
    )
    assert train_step_cost(network, unsearched).searching == 0.0


def test_the_cost_is_what_the_layers_multiply_and_add():
    config = NetworkConfig(channels=4, reduced_channels=2, lstm_hidden_size=4, support_bound=1)
    spec = images(4, 4, channels=1)
    network = sized_network(config, spec, value_prefix=False)
    run = Config()
    run = dataclasses.replace(
        run,
        agent=dataclasses.replace(run.agent, num_unroll_steps=1, td_steps=1, value_prefix=False),
        search=dataclasses.replace(run.search, num_simulations=3),
        learner=dataclasses.replace(run.learner, batch_size=2, consistency_coefficient=0.0),
        reanalyzer=dataclasses.replace(run.reanalyzer, policy_reanalyze_ratio=1.0),
    )
    cells, bins, hidden, stem = 16, 3, 32, 2 * 16
    conv = 2 * 9 * cells  # a multiplication and an addition for each tap, cell and pair of channels
    block = 2 * conv * 4 * 4
    head_stem = 2 * cells * 4 * 2
    value = head_stem + 2 * stem * hidden + 2 * hidden * bins
    policy = head_stem + 2 * stem * hidden + 2 * hidden * 4
    prediction = block + value + policy
    initial = conv * 1 * 4 + block + prediction
    recurrent = conv * 5 * 4 + block + prediction + value
    cost = train_step_cost(network, run)
    assert cost.training == 2 * 3 * (initial + recurrent)
    assert cost.searching == 2 * 2 * (initial + 3 * recurrent)
