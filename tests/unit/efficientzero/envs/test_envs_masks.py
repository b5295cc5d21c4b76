"""Legal actions from each place where environments say them, and what is made of them."""

import dataclasses

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from efficientzero.config import Config, ConfigError, EnvConfig, load_preset
from efficientzero.config.validation import validate
from efficientzero.envs import EnvError, make_env_batch, probe_env_spec, random_actions
from efficientzero.envs.factory import make_env
from efficientzero.envs.trial import try_env
from tests.support.masked_envs import LENGTH, MaskedEnv

WAYS = ("info", "observation", "method")


@pytest.fixture
def masked():
    """Register the environment, with arguments of its constructor, and return its config."""

    def register(**kwargs):
        gymnasium.register("Masked-v0", MaskedEnv, kwargs=kwargs)
        return Config(env=EnvConfig(id="Masked-v0", num_stacked_frames=1))

    yield register
    gymnasium.registry.pop("Masked-v0", None)


@pytest.mark.parametrize("way", WAYS)
def test_masks_come_from_the_info_the_observation_or_a_method(masked, way):
    config = masked(way=way)
    spec = probe_env_spec(config.env)
    assert spec.has_legal_actions and spec.frame_shape == (3,) and spec.num_actions == 5
    envs = make_env_batch(config, seeds=[3, 4], purpose="training", expected=spec)
    reference = [MaskedEnv(way=way), MaskedEnv(way=way)]
    for env, seed in zip(reference, (3, 4), strict=True):
        env.reset(seed=seed)
    observed, rng = envs.reset([0, 1]), np.random.default_rng(0)
    for _ in range(LENGTH - 1):
        wanted = np.array([env.mask for env in reference], np.bool_)
        np.testing.assert_array_equal(observed.legal_actions, wanted)
        actions = random_actions(spec, rng, 2, observed.legal_actions)
        observed = envs.step([0, 1], actions).observed
        for env, action in zip(reference, actions, strict=True):
            env.step(action)
    envs.close()


def test_the_info_comes_before_the_method():
    class Both(MaskedEnv):
        def action_masks(self):
            raise AssertionError("not asked")

    gymnasium.register("Both-v0", Both, kwargs={"way": "info"})
    try:
        assert probe_env_spec(EnvConfig(id="Both-v0")).has_legal_actions
    finally:
        del gymnasium.registry["Both-v0"]


def test_looking_for_masks_costs_no_episode(masked):
    """The reset in which they are found is the first episode of its seed."""
    config = masked()
    first = make_env(config.env, seed=5, training=True, max_episode_steps=0)
    first.find_masks()
    second = make_env(config.env, seed=5, training=True, max_episode_steps=0)
    for _ in range(3):
        np.testing.assert_array_equal(first.reset(), second.reset())


@pytest.mark.parametrize("way", WAYS)
def test_masks_that_are_switched_off_are_not_read(masked, way):
    config = masked(way=way)
    env = dataclasses.replace(config.env, legal_actions="off")
    assert not probe_env_spec(env).has_legal_actions
    config = dataclasses.replace(config, env=env)
    envs = make_env_batch(config, seeds=[0], purpose="training")
    assert envs.reset([0]).legal_actions is None


def test_a_run_that_began_without_masks_goes_on_without(masked):
    config = masked()
    before = dataclasses.replace(probe_env_spec(config.env), has_legal_actions=False)
    envs = make_env_batch(config, seeds=[0], purpose="training", expected=before)
    assert envs.spec == before and envs.reset([0]).legal_actions is None


def test_an_illegal_action_is_refused_before_the_environment_sees_it(masked):
    config = masked()
    envs = make_env_batch(config, seeds=[0], purpose="training")
    legal = envs.reset([0]).legal_actions[0]
    illegal, wanted = int(legal.argmin()), legal.nonzero()[0].tolist()
    message = rf"actions: got {illegal}, which is illegal now, wanted \{str(wanted)[:-1]}\]"
    with pytest.raises(ValueError, match=message):
        envs.step([0], np.array([illegal]))


@pytest.mark.parametrize("truncates", [False, True])
def test_only_an_episode_that_goes_on_needs_a_mask_at_its_end(masked, truncates):
    config = masked(truncates=truncates, shows_last_mask=False)
    envs = make_env_batch(config, seeds=[0], purpose="training")
    observed, rng = envs.reset([0]), np.random.default_rng(0)
    for _ in range(LENGTH - 1):
        actions = random_actions(envs.spec, rng, 1, observed.legal_actions)
        observed = envs.step([0], actions).observed
    actions = random_actions(envs.spec, rng, 1, observed.legal_actions)
    if truncates:
        with pytest.raises(EnvError, match="step 7 of an episode: legal actions: got none, wanted"):
            envs.step([0], actions)
    else:
        assert envs.step([0], actions).observed.legal_actions.all()


@pytest.mark.parametrize("way", WAYS)
def test_a_trial_plays_legal_actions_alone(masked, way):
    assert try_env(masked(way=way).env).spec.has_legal_actions


def test_masks_of_factors_are_masks_of_combinations(masked):
    space = spaces.MultiDiscrete([3, 2])
    config = masked(space=space)
    assert try_env(config.env).spec.num_actions == 6
    envs = make_env_batch(config, seeds=[1], purpose="training")
    legal = envs.reset([0]).legal_actions[0]
    inner = MaskedEnv(space=space)
    inner.reset(seed=1)
    wanted = np.outer(inner.mask[:3], inner.mask[3:]).reshape(-1)
    np.testing.assert_array_equal(legal, wanted.astype(bool))


def test_taxi_says_which_actions_are_legal():
    config = Config(env=EnvConfig(id="Taxi-v4", num_stacked_frames=1))
    envs = make_env_batch(config, seeds=[0], purpose="training")
    assert envs.spec.frame_shape == (500,) and envs.spec.has_legal_actions
    observed, rng = envs.reset([0]), np.random.default_rng(0)
    rewards = []
    for _ in range(100):
        actions = random_actions(envs.spec, rng, 1, observed.legal_actions)
        steps = envs.step([0], actions)
        observed = steps.observed
        rewards.append(float(steps.rewards[0]))
    assert min(rewards) == -1.0, "an illegal pick-up or drop-off costs 10"


def test_masks_and_repeated_actions_are_refused(masked):
    spec = probe_env_spec(masked().env)
    config = load_preset("cartpole")
    repeated = dataclasses.replace(config, env=dataclasses.replace(config.env, action_repeat=2))
    validate(repeated, dataclasses.replace(spec, has_legal_actions=False))
    with pytest.raises(
        ConfigError,
        match=r"env\.action_repeat: got 2 with the legal actions of Masked-v0, wanted 1 \(or env\."
        r"legal_actions off\)",
    ):
        validate(repeated, spec)
