"""Actions of several factors, and the advice where a space cannot be used."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from efficientzero.config import EnvConfig
from efficientzero.envs.gym.actions import numbered
from efficientzero.envs.trial import try_env


class AnyEnv(gymnasium.Env):
    """Has the spaces that it is given and samples from them; asserts what it is told to do."""

    def __init__(self, actions=None, observations=None):
        self.action_space = actions or spaces.Discrete(2)
        self.observation_space = observations or spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        return self.observation_space.sample(), 0.0, False, False, {}


def tried(**kwargs):
    gymnasium.register("Any-v0", AnyEnv, kwargs=kwargs)
    try:
        return try_env(EnvConfig(id="Any-v0"))
    except ValueError as error:
        assert "\n" not in str(error)
        return str(error)
    finally:
        del gymnasium.registry["Any-v0"]


def test_combinations_by_hand():
    actions = numbered(spaces.MultiDiscrete([3, 2]))
    assert actions.num_actions == 6
    assert actions.decode(5).tolist() == [2, 1] and actions.decode(2).tolist() == [1, 0]
    # Legal choices 0 and 2 of the first factor, both of the second.
    assert actions.mask(np.array([1, 0, 1, 1, 1])).tolist() == [1, 1, 0, 0, 1, 1]
    assert actions.mask((np.array([1, 0, 1]), np.ones(2))).tolist() == [1, 1, 0, 0, 1, 1]
    assert actions.mask([0, 1, 1, 0, 0, 1]) == [0, 1, 1, 0, 0, 1]
    two = numbered(spaces.MultiDiscrete([2, 2]))
    assert two.mask([1, 0, 0, 1]).tolist() == [0, 1, 0, 0], "a flag for each choice"


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(0, 5))
def test_every_number_is_one_combination_the_last_factor_the_fastest(nvec, start):
    if np.prod(nvec) > 1_024:
        return
    space = spaces.MultiDiscrete(nvec, start=[start] * len(nvec))
    actions = numbered(space)
    decoded = [actions.decode(index) for index in range(actions.num_actions)]
    assert all(space.contains(action) for action in decoded)
    assert len({tuple(action) for action in decoded}) == actions.num_actions == np.prod(nvec)
    for index, action in enumerate(decoded):
        number = 0
        for choice, size in zip(action - start, nvec, strict=True):
            number = number * size + int(choice)
        assert number == index


@pytest.mark.parametrize(
    ("space", "num_actions"),
    [
        (spaces.MultiDiscrete([3, 2], start=[1, 5]), 6),
        (spaces.MultiDiscrete([[3, 2], [2, 2]]), 24),
        (spaces.MultiBinary(3), 8),
        (spaces.MultiBinary([2, 2]), 16),
        (spaces.MultiDiscrete([32, 32]), 1_024),
    ],
)
def test_environments_get_actions_of_their_space(space, num_actions):
    assert tried(actions=space).spec.num_actions == num_actions


@pytest.mark.parametrize(
    ("space", "text"),
    [
        (spaces.MultiDiscrete([33, 32]), "are 1056 combinations of [33, 32], wanted at most 1024"),
        (spaces.MultiBinary(64), "wrap it in gymnasium.wrappers.TransformAction"),
        (spaces.Tuple([spaces.Discrete(2)]), "gymnasium.wrappers.TransformAction"),
        (spaces.Dict(a=spaces.Discrete(2)), "gymnasium.wrappers.TransformAction"),
    ],
)
def test_other_actions_are_refused_with_the_wrapper_to_use(space, text):
    refusal = tried(actions=space)
    assert refusal.startswith("env.id=Any-v0: actions are ") and text in refusal


FLATTEN = "wrap it in gymnasium.wrappers.FlattenObservation"


@pytest.mark.parametrize(
    ("space", "text"),
    [
        (spaces.Dict(a=spaces.Discrete(2), b=spaces.Box(0, 1, (2,))), FLATTEN),
        (spaces.Tuple([spaces.Discrete(2), spaces.Discrete(3)]), FLATTEN),
        (spaces.MultiDiscrete([3, 2]), FLATTEN),
        (spaces.MultiBinary(4), FLATTEN),
        (spaces.Box(0, 1, (), np.float32), FLATTEN),
        (spaces.Box(0, 1, (4, 5), np.float32), FLATTEN),
        (spaces.Box(0, 255, (4, 5, 7), np.uint8), FLATTEN),
        (spaces.Box(0, 1, (2, 2, 2, 2), np.float32), FLATTEN),
        (spaces.Box(0, 255, (3, 8, 9), np.uint8), "TransformObservation with numpy.moveaxis"),
        (spaces.Text(5), FLATTEN),
        (spaces.Sequence(spaces.Discrete(2)), "write a gymnasium.ObservationWrapper that returns"),
    ],
)
def test_other_observations_are_refused_with_the_wrapper_to_use(space, text):
    refusal = tried(observations=space)
    assert refusal.startswith("env.id=Any-v0: observations are ") and text in refusal


def test_the_wrapper_that_is_named_helps():
    class Flat(gymnasium.wrappers.FlattenObservation):
        def __init__(self):
            super().__init__(
                AnyEnv(observations=spaces.Dict(a=spaces.Discrete(3), b=spaces.Box(0, 1, (2,))))
            )

    gymnasium.register("Flat-v0", Flat)
    try:
        assert try_env(EnvConfig(id="Flat-v0")).spec.frame_shape == (5,)
    finally:
        del gymnasium.registry["Flat-v0"]
