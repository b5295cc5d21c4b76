"""What an environment may return, and that what it must not return ends in one clear error."""

import dataclasses
import logging
import signal
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from efficientzero.config.fields import Config, EnvConfig
from efficientzero.envs.batch import EnvStep, SequentialEnvBatch
from efficientzero.envs.errors import EnvContractError, EnvCrashed, EnvError
from efficientzero.envs.factory import make_env, make_env_batch, spec_of
from efficientzero.envs.gym import GymEnv
from efficientzero.envs.trial import try_env

VECTOR = spaces.Box(-1, 1, (4,), np.float32)
GOOD = np.zeros(4, np.float32)


class PanicException(BaseException):
    """As pyo3 raises it for a panic in Rust."""


class NoArray:
    """As a torch tensor that requires grad."""

    def __array__(self, *args, **kwargs):
        raise RuntimeError("it\nneeds grad")


@pytest.fixture
def pythons_sigint():
    """Take SIGINT as Python does; what is started in the background inherits that it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def sigint_handler():
    """Take SIGINT by a handler, as every role does."""
    before = signal.signal(signal.SIGINT, lambda signum, frame: None)
    yield
    signal.signal(signal.SIGINT, before)


def image(*shape):
    return spaces.Box(0, 255, shape, np.uint8)


class Scripted(gymnasium.Env):
    """Returns what the test says; episodes of five steps."""

    action_space = spaces.Discrete(2)
    num_open = 0

    def __init__(self, space=VECTOR, first=GOOD, step=None, reset=None, bad_at=1):
        self.observation_space, self.first = space, first
        self.step_result, self.reset_result, self.bad_at, self.t = step, reset, bad_at, 0
        Scripted.num_open += 1

    def close(self):
        Scripted.num_open -= 1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return (self.first, {}) if self.reset_result is None else self.reset_result

    def step(self, action):
        self.t += 1
        if self.t == self.bad_at and self.step_result is not None:
            if isinstance(self.step_result, BaseException):
                raise self.step_result
            return self.step_result
        return self.first, 1.0, self.t == 5, False, {}


def batch_of(*envs):
    config = EnvConfig(id="Scripted-v0", num_stacked_frames=1)
    wrapped = [GymEnv(env, seed=0, max_episode_steps=0) for env in envs]
    return SequentialEnvBatch(spec_of(wrapped[0], config), wrapped)


@pytest.mark.parametrize(
    ("space", "observation", "message"),
    [
        (image(12, 12, 3), np.full((12, 12, 3), 0.9, np.float32), "float32 .*declared uint8"),
        (image(12, 12, 3), np.full((12, 12, 3), 300, np.int64), "int64 .*declared uint8"),
        (image(12, 12, 3), np.ones((12, 12, 3), np.bool_), "bool .*declared uint8"),
        (image(8, 12), np.zeros((12, 8), np.uint8), r"\(12, 8\), declared uint8 \(8, 12\)"),
        (image(8, 12, 3), np.zeros((12, 8, 3), np.uint8), r"\(12, 8, 3\), declared"),
        (image(12, 12, 3), np.zeros((12, 12, 1), np.uint8), r"\(12, 12, 1\), declared"),
        (spaces.Box(0, 10, (5, 5), np.uint8), np.full((5, 5), 11, np.uint8), "11, declared 0 to"),
        (VECTOR, np.zeros((2, 2), np.float32), r"\(2, 2\), declared float32 \(4,\)"),
        (VECTOR, np.float32(0), r"float32 \(\), declared"),
        (VECTOR, np.zeros(1, np.float32), r"\(1,\), declared"),
        (VECTOR, np.zeros(4, np.complex64), "complex64"),
        (VECTOR, None, "object"),
        (VECTOR, [1, [2, 3]], "list"),
        (VECTOR, np.array([0, np.nan, 0, 0]), r"observation\[1\]: got nan, wanted a finite"),
        (VECTOR, np.array([0, 0, 0, -np.inf]), r"observation\[3\]: got -inf"),
        (spaces.Box(-np.inf, np.inf, (2,), np.float64), np.array([0, 5e38]), r"got 5e\+38"),
        (spaces.Box(0, 9, (2,), np.int64), np.array([0.5, 1.0]), "float64 .*declared int64"),
        (spaces.Discrete(4), 4, "got 4, declared 0 to 3"),
        (spaces.Discrete(4), -1, "got -1, declared 0 to 3"),
        (spaces.Discrete(4, start=1), 0, "got 0, declared 1 to 4"),
        (spaces.Discrete(4), 1.0, "float64"),
    ],
)
def test_an_observation_that_is_not_as_declared_is_refused(space, observation, message):
    with pytest.raises(EnvContractError, match=rf"env.id=Scripted-v0: reset: .*{message}") as told:
        batch_of(Scripted(space, observation)).reset([0])
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("space", "observation", "frame"),
    [
        (VECTOR, np.array([0.5, -1.0, 1.0, 0.0]), [0.5, -1.0, 1.0, 0.0]),
        (VECTOR, [0, 1, 0, -1], [0, 1, 0, -1]),
        (spaces.Box(0, 255, (2,), np.uint8), np.array([7, 255], np.uint8), [7, 255]),
        (spaces.Box(0, 9, (2,), np.int64), np.array([9, 3], np.int32), [9, 3]),
        (spaces.Box(0, 1, (2,), np.bool_), np.array([True, False]), [255, 0]),
        (VECTOR, np.array([True, False, True, False]), [1, 0, 1, 0]),
        (spaces.Box(0, 255, (2,), np.uint8), np.array([True, False]), [1, 0]),
    ],
)
def test_a_safe_conversion_is_made(space, observation, frame):
    batch = batch_of(Scripted(space, observation))
    got = batch.reset([0]).frames
    assert got.dtype == np.float32
    assert got[0].tolist() == frame


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ((GOOD, 1.0, False, {}), "a tuple of 4, wanted 5 values: observation, reward, term"),
        (GOOD, r"float32 \(4,\), wanted 5 values"),
        ((GOOD, np.nan, False, False, {}), "reward: got nan"),
        ((GOOD, -np.inf, False, False, {}), "reward: got -inf"),
        ((GOOD, 1e39, False, False, {}), r"reward: got 1e\+39"),
        ((GOOD, 10**400, False, False, {}), "reward: got"),
        ((GOOD, None, False, False, {}), "reward: got NoneType None, wanted one number"),
        ((GOOD, np.array([1.0]), False, False, {}), r"reward: got float64 \(1,\)"),
        ((GOOD, "1", False, False, {}), "reward: got str '1'"),
        ((GOOD, [1, [2, 3]], False, False, {}), r"reward: got list .*, wanted one number \(sett"),
        ((GOOD, NoArray(), False, False, {}), r"reward: got NoArray.*needs grad\)"),
        ((GOOD, 1.0, [1, [2, 3]], False, {}), "terminated: got list .*, wanted True or False"),
        ((GOOD, 1.0, False, [1, [2, 3]], {}), "truncated: got list .*, wanted True or False"),
        ((NoArray(), 1.0, False, False, {}), r"observation: got NoArray.* \(it needs grad\)"),
        ((GOOD, 1.0, None, False, {}), "terminated: got NoneType None, wanted True or False"),
        ((GOOD, 1.0, False, 0.5, {}), "truncated: got float 0.5"),
        ((GOOD, 1.0, False, False, None), "info: got NoneType None, wanted a dict"),
        ((np.zeros(5, np.float32), 1.0, False, False, {}), r"\(5,\), declared"),
    ],
)
def test_a_step_that_is_not_as_gymnasium_has_it_is_refused(result, message):
    batch = batch_of(Scripted(step=result, bad_at=3))
    batch.reset([0])
    for _ in range(2):
        batch.step([0], np.array([0]))
    with pytest.raises(EnvContractError, match=f"step 3 of an episode: .*{message}") as told:
        batch.step([0], np.array([0]))
    assert told.value.is_permanent


@pytest.mark.parametrize(
    "reward", [1, 1.5, True, np.float32(1), np.int64(2), np.bool_(True), np.array(2.0)]
)
def test_every_number_is_a_reward(reward):
    batch = batch_of(Scripted(step=(GOOD, reward, np.bool_(False), 0, {})))
    batch.reset([0])
    assert batch.step([0], np.array([0])).rewards[0] == np.float32(reward)


@pytest.mark.parametrize(
    ("result", "message"),
    [(GOOD, r"float32 \(4,\), wanted 2 values"), ((GOOD, None), "info: got NoneType")],
)
def test_a_reset_without_info_is_refused(result, message):
    with pytest.raises(EnvContractError, match=message):
        batch_of(Scripted(reset=result)).reset([0])


def test_a_float_outside_the_declared_range_is_reported_once_and_taken(caplog):
    batch = batch_of(Scripted(step=(2 * np.ones(4, np.float32), 1.0, False, False, {})))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            batch.reset([0])
            assert batch.step([0], np.array([0])).observed.frames.tolist() == [[2.0] * 4]
    assert caplog.text.count("got 2.0, declared -1.0 to 1.0") == 1


def test_a_boolean_outside_the_declared_range_is_reported(caplog):
    space = spaces.Box(-0.5, 0.5, (2,), np.float32)
    with caplog.at_level(logging.WARNING):
        observed = batch_of(Scripted(space, np.array([True, False]))).reset([0])
    assert observed.frames.tolist() == [[1, 0]]
    assert "observation[0]: got True, declared -0.5 to 0.5" in caplog.text


def test_frames_of_any_environment_are_checked():
    env = make_env(EnvConfig(id="ALE/Pong-v5"), seed=0, training=True, max_episode_steps=0)
    batch = SequentialEnvBatch(spec_of(env, EnvConfig(id="ALE/Pong-v5")), [env])
    batch.reset([0])
    wide = np.zeros((3, 96, 97), np.uint8)
    env.step = lambda action: EnvStep(wide, 0.0, False, False, False)
    with pytest.raises(EnvContractError, match=r"frame: got uint8 \(3, 96, 97\), wanted"):
        batch.step([0], np.array([0]))


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (RuntimeError("no\n simulator"), "raised RuntimeError: no simulator"),
        (SystemExit(3), r"called sys.exit\(3\)"),
        (SystemExit(), r"called sys.exit\(\)"),
        (PanicException("rust panicked"), "raised PanicException: rust panicked"),
        (KeyboardInterrupt(), "raised KeyboardInterrupt"),
    ],
)
def test_what_an_environment_raises_is_one_block_and_the_others_have_stepped(
    error, what, sigint_handler
):
    batch = batch_of(Scripted(), Scripted(step=error, bad_at=2), Scripted())
    batch.reset([0, 1, 2])
    batch.step([0, 1, 2], np.array([0, 0, 0]))
    with pytest.raises(EnvCrashed, match=what) as told:
        batch.step([0, 1, 2], np.array([0, 0, 0]))
    failure = told.value
    assert failure.headline.startswith("env.id=Scripted-v0: step 2 of an episode ")
    assert "(test_envs_contract.py:" in failure.headline
    assert not failure.is_permanent
    block = str(failure).splitlines()[1:]
    assert block[0] == "Traceback (most recent call last):"
    assert len([line for line in block if line.startswith("  File ")]) == 1, "frames of ours"
    assert failure.failed_rows == (1,)
    assert failure.steps.rewards[[0, 2]].tolist() == [1.0, 1.0]
    with pytest.raises(ValueError, match=r"\[1\] have ended"):
        batch.step([1], np.array([0]))
    batch.reset([1])


@pytest.mark.parametrize(
    "error", [RuntimeError("gone"), SystemExit(1), PanicException("rust panicked")]
)
def test_an_environment_that_fails_at_closing_keeps_no_other_from_it(error, caplog):
    first, second = Scripted(), Scripted()
    closed = []

    def fail():
        raise error

    first.close, second.close = fail, lambda: closed.append(True)
    batch_of(first, second).close()
    assert closed == [True]
    assert "env.id=Scripted-v0: close " in caplog.text


def test_ctrl_c_is_not_an_environments_failure(pythons_sigint):
    batch = batch_of(Scripted(step=KeyboardInterrupt()))
    batch.reset([0])
    with pytest.raises(KeyboardInterrupt):
        batch.step([0], np.array([0]))


@pytest.mark.parametrize("error", [PanicException("rust panicked"), KeyboardInterrupt()])
def test_whatever_a_constructor_or_a_reset_raises_is_one_line(tried, error, sigint_handler):
    class Broken(Scripted):
        def __init__(self, in_reset):
            super().__init__()
            if not in_reset:
                raise error

        def reset(self, *, seed=None, options=None):
            raise error

    gymnasium.register("Tried-v0", Broken)
    for in_reset, where in ((False, "its constructor"), (True, "reset")):
        with pytest.raises(ValueError, match=f"{where} raised {type(error).__name__}"):
            try_env(EnvConfig(id="Tried-v0", kwargs={"in_reset": in_reset}))


def test_ctrl_c_stops_a_constructor(tried, pythons_sigint):
    class Slow(Scripted):
        def __init__(self):
            raise KeyboardInterrupt

    gymnasium.register("Tried-v0", Slow)
    with pytest.raises(KeyboardInterrupt):
        try_env(EnvConfig(id="Tried-v0"))


def test_an_error_of_an_environment_is_a_value_error_for_commands():
    assert issubclass(EnvError, ValueError)


@pytest.fixture
def tried():
    """Return what a trial of an environment finds, or the line with which it is refused."""

    def run(**kwargs):
        try:
            return try_env(EnvConfig(id="Tried-v0"))
        except ValueError as error:
            assert "\n" not in str(error)
            return str(error)

    def register(limit=None, **kwargs):
        gymnasium.register("Tried-v0", Scripted, max_episode_steps=limit, kwargs=kwargs)
        Scripted.num_open = 0
        found = run()
        assert Scripted.num_open == 0, "a trial closes what it refuses, too"
        return found

    yield register
    del gymnasium.registry["Tried-v0"]


def test_a_trial_finds_an_error_of_a_later_step(tried):
    assert "step 4 of an episode: reward: got nan" in tried(
        step=(GOOD, np.nan, False, False, {}), bad_at=4
    )


@pytest.mark.parametrize("space", [spaces.Dict(a=VECTOR), spaces.Box(0, 255, (2, 2), np.uint8)])
def test_a_trial_closes_what_has_no_frames(tried, space):
    assert "env.id=Tried-v0: " in tried(space=space)


def test_environments_are_closed_where_their_batch_is_refused(tried):
    spec = tried().spec
    with pytest.raises(EnvContractError, match="another version"):
        make_env_batch(
            Config(env=EnvConfig(id="Tried-v0")),
            seeds=[0, 1],
            purpose="training",
            expected=dataclasses.replace(spec, num_actions=3),
        )
    assert Scripted.num_open == 0


def test_a_trial_refuses_floats_outside_the_declared_range(tried):
    told = tried(first=np.full(4, 1.5, np.float32))
    assert "observation[0]: got 1.5, declared -1.0 to 1.0: correct its observation_space" in told


def test_a_trial_explains_the_old_api_behind_gymnasiums_wrappers(tried):
    told = tried(limit=9, step=(GOOD, 1.0, False, {}))
    assert "step returns 5 values: observation, reward, terminated, truncated, info" in told


def test_a_trial_reports_limit_and_rewards(tried):
    facts = tried(step=(GOOD, -7.5, False, False, {}))
    assert (facts.time_limit, facts.largest_reward) == (0, 7.5)
    assert not facts.spec.has_legal_actions


@pytest.mark.parametrize(
    ("mask", "text"),
    [
        (np.ones(3, np.int8), "reset: legal actions: got int8 (3,), wanted 2 of 0 and 1"),
        (np.zeros(2, np.int8), "reset: legal actions: got none of 2, wanted 2 of 0 and 1"),
        (np.array([0.5, 1.0]), "reset: legal actions: got float64 (2,), wanted 2 of 0 and 1"),
        (np.array([2, 1]), "reset: legal actions: got int64 (2,), wanted 2 of 0 and 1"),
    ],
)
def test_a_trial_refuses_a_mask_that_is_none(tried, mask, text):
    assert f"env.id=Tried-v0: {text}" in tried(reset=(GOOD, {"action_mask": mask}))


def test_a_mask_that_was_there_at_reset_and_is_missing_later_is_refused(tried):
    told = tried(reset=(GOOD, {"action_mask": np.ones(2, np.int8)}))
    assert "step 1 of an episode: legal actions: got none, wanted 2 of 0 and 1" in told


def test_a_trial_reports_the_registered_limit(tried):
    assert tried(limit=9).time_limit == 9


def test_one_crash_in_a_trial_may_be_bad_luck(tried):
    class Once(Scripted):
        crashes = 1

        def step(self, action):
            if self.t == 3 and Once.crashes:
                Once.crashes -= 1
                sys.exit()
            return super().step(action)

    gymnasium.register("Tried-v0", Once)
    facts = try_env(EnvConfig(id="Tried-v0"))
    assert "called sys.exit()" in facts.crash


def test_arguments_reach_the_constructor(tried):
    tried()
    config = EnvConfig(id="Tried-v0", kwargs={"bad_at": 2})
    env = make_env(config, seed=0, training=True, max_episode_steps=0)
    assert env._env.unwrapped.bad_at == 2
    with pytest.raises(ValueError, match=r"env.id=Tried-v0: .*'size'.*--env.kwargs KEY=VALUE"):
        try_env(EnvConfig(id="Tried-v0", kwargs={"size": 2}))


@pytest.mark.parametrize("env_id", ["ALE/Pong-v5", "Catch-v0"])
def test_arguments_that_nobody_takes_are_refused(env_id):
    with pytest.raises(ValueError, match="kwargs: got size, wanted none"):
        make_env(
            EnvConfig(id=env_id, kwargs={"size": 2}), seed=0, training=True, max_episode_steps=0
        )
