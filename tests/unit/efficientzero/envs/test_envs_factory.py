"""From ids to batches: what is known, what is refused and in which words, and seeds."""

import re
import sys
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from efficientzero.config import AtariConfig, Config, EnvConfig
from efficientzero.envs import make_env_batch, probe_env_spec
from efficientzero.envs.atari.game import AtariGame
from efficientzero.envs.batch import EnvBatch, SequentialEnvBatch
from efficientzero.envs.errors import EnvContractError
from efficientzero.envs.trial import try_env


def make_batch(
    env_id: str, num_envs: int = 1, *, seeds: list[int] | None = None, max_episode_steps: int = 0
) -> EnvBatch:
    env = EnvConfig(id=env_id, max_episode_steps=max_episode_steps)
    return make_env_batch(
        Config(env=env), seeds=seeds or list(range(num_envs)), purpose="evaluation"
    )


def make_one_game(env_id: str, *, max_episode_steps: int = 0) -> AtariGame:
    batch = make_batch(env_id, max_episode_steps=max_episode_steps)
    assert isinstance(batch, SequentialEnvBatch)
    env = batch._envs[0]
    assert isinstance(env, AtariGame)
    return env


class SpacesEnv(gymnasium.Env):
    """An environment that only has spaces."""

    def __init__(self, observation_space: spaces.Space, action_space: spaces.Space) -> None:
        self.observation_space = observation_space
        self.action_space = action_space


class EndlessEnv(gymnasium.Env):
    """A task that goes on for ever."""

    observation_space, action_space = spaces.Box(-1, 1, (2,)), spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        return np.zeros(2, np.float32), {}

    def step(self, action):
        return np.zeros(2, np.float32), -1.0, False, False, {}


@pytest.fixture
def register():
    """Register environments for one test only; their ids begin with Tested."""

    def register_id(env_id: str, entry_point, **kwargs) -> None:
        gymnasium.register(env_id, entry_point, kwargs=kwargs)

    yield register_id
    for env_id in [known for known in gymnasium.registry if known.startswith("Tested")]:
        del gymnasium.registry[env_id]


@pytest.mark.parametrize("env_id", ["ALE/Pong-v5", "PongNoFrameskip-v4", "Pong-v0"])
def test_no_id_skips_frames_twice_or_repeats_actions(env_id: str):
    env = make_one_game(env_id)
    env.reset()
    before = env.emulator.getEpisodeFrameNumber()
    for count in range(1, 11):
        env.step(0)
        assert env.emulator.getEpisodeFrameNumber() - before == 4 * count
    assert env.emulator.getFloat("repeat_action_probability") == 0.0


def test_all_ids_of_a_game_play_the_same_game():
    actions = np.random.default_rng(0).integers(6, size=30)
    games = []
    for env_id in ("ALE/Pong-v5", "PongNoFrameskip-v4"):
        env = make_one_game(env_id)
        games.append([env.reset(), *(env.step(int(action)).frame for action in actions)])
    np.testing.assert_array_equal(games[0], games[1])


def test_atari_spec_has_minimal_actions_and_rgb_frames():
    spec = probe_env_spec(EnvConfig(id="ALE/Pong-v5"))
    assert spec.frame_shape == (3, 96, 96)
    assert spec.observation_shape == (12, 96, 96)
    assert (spec.frame_dtype, spec.num_actions, spec.is_image) == ("uint8", 6, True)


def test_minatar_planes_become_black_and_white_frames_with_the_games_own_actions():
    spec = probe_env_spec(EnvConfig(id="MinAtar/Breakout-v1", num_stacked_frames=1))
    assert (spec.frame_shape, spec.frame_dtype, spec.num_actions) == ((4, 10, 10), "uint8", 3)
    assert spec.is_image
    batch = make_batch("MinAtar/Breakout-v1", seeds=[3])
    paddle, ball, trail, bricks = batch.reset([0]).frames[0]
    assert np.argwhere(paddle).tolist() == [[9, 4]]
    assert set(np.unique(bricks)) == {0, 255}
    assert bricks[1:4].all() and np.count_nonzero(bricks) == 30
    np.testing.assert_array_equal(ball, trail)


def test_without_minatar_its_ids_name_the_package_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "minatar.gym", None)
    with pytest.raises(ValueError, match=r"env.id=MinAtar/Breakout-v1: .*pip install minatar"):
        probe_env_spec(EnvConfig(id="MinAtar/Breakout-v1"))


def test_vector_spec():
    spec = probe_env_spec(EnvConfig(id="CartPole-v1"))
    assert (spec.frame_shape, spec.frame_dtype, spec.num_actions) == ((4,), "float32", 2)
    assert spec.observation_shape == (16,)


def test_without_a_limit_a_games_registered_frame_limit_holds(register):
    register("TestedPong-v0", "ale_py.env:AtariEnv", game="pong", max_num_frames_per_episode=40)
    env = make_one_game("TestedPong-v0")
    env.reset()
    assert [env.step(0).truncated for _ in range(10)] == [False] * 9 + [True]
    longer = make_one_game("TestedPong-v0", max_episode_steps=12)
    longer.reset()
    assert [longer.step(0).truncated for _ in range(12)] == [False] * 11 + [True]


@pytest.mark.parametrize(
    "own, given, limit", [(None, 0, 1000), (1200, 0, 1200), (None, 1100, 1100)]
)
def test_every_evaluation_has_a_time_limit(register, own, given, limit):
    gymnasium.register("TestedEndless-v0", EndlessEnv, max_episode_steps=own)
    batch = make_batch("TestedEndless-v0", max_episode_steps=given)
    batch.reset([0])
    num_steps = 1
    while not batch.step([0], np.array([0])).truncated[0]:
        num_steps += 1
    assert num_steps == limit


def test_a_training_episode_of_an_endless_task_goes_on(register):
    register("TestedEndless-v0", EndlessEnv)
    env = EnvConfig(id="TestedEndless-v0", max_episode_steps=0)
    batch = make_env_batch(Config(env=env), seeds=[0], purpose="training")
    batch.reset([0])
    assert not any(batch.step([0], np.array([0])).truncated[0] for _ in range(1100))


@pytest.mark.parametrize(
    "wrong, right",
    [
        ("ALE/Pnog-v5", "ALE/Pong-v5"),
        ("Pong-v5", "ALE/Pong-v5"),
        ("breakout", "ALE/Breakout-v5"),
        ("CartPoel-v1", "CartPole-v1"),
        ("CartPole-v9", "CartPole-v1$"),
        ("CartPole-v11", "CartPole-v1$"),
        ("CartPole_v1", "CartPole-v1$"),
        ("LunarLander-v99", "LunarLander-v3$"),
        ("ale/pong-v4", "ALE/Pong-v5$"),
        ("minatar/breakout-v7", "Breakout-v"),
        ("catch", "Catch-v0"),
        ("MinAtar/Brekout-v1", "MinAtar/Breakout-v1"),
        ("!", "CartPole-v1"),
    ],
)
def test_an_unknown_id_is_answered_with_the_nearest_known_ones(wrong: str, right: str):
    with pytest.raises(ValueError, match=f"no such environment; try .*{right}") as raised:
        probe_env_spec(EnvConfig(id=wrong))
    assert wrong in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.fixture
def package(tmp_path, monkeypatch, register):
    """Return a function that writes a package ``tested_package``."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(text: str) -> None:
        (tmp_path / "tested_package.py").write_text(text)

    yield write
    sys.modules.pop("tested_package", None)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("TestedMine-v3", "tested_package:TestedMine-v0"),
        ("TestedMin-v0", "tested_package:TestedMine-v0"),
        ("CartPole-v9", "CartPole-v1"),
        ("catch", "Catch-v0"),
    ],
)
def test_an_advised_id_can_be_used(package, wrong, right):
    package(
        "import gymnasium\n"
        "from gymnasium.envs.classic_control.cartpole import CartPoleEnv\n"
        "class Mine(CartPoleEnv): pass\n"
        "gymnasium.register('TestedMine-v0', Mine)\n"
    )
    with pytest.raises(ValueError, match=f"no such environment; try {right}$"):
        probe_env_spec(EnvConfig(id=f"tested_package:{wrong}"))
    probe_env_spec(EnvConfig(id=right))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "import nosuchthing",
            "importing tested_package raised ModuleNotFoundError: No module named 'nosuchthing' "
            r"\(tested_package.py:1\); install nosuchthing, or name its folder in PYTHONPATH",
        ),
        ("from sys import nosuchthing", r"importing .* raised ImportError: .*package.py:1\)"),
        ("import sys\nsys.exit(3)", r"importing .* called sys.exit\(3\) \(tested_package.py:2\)"),
        ("a = (", "importing tested_package raised SyntaxError: '\\('.*line 1\\)"),
        (
            "class PanicException(BaseException): pass\nraise PanicException('rust panicked')",
            r"importing .* raised PanicException: rust panicked \(tested_package.py:2\)",
        ),
    ],
)
@pytest.mark.parametrize("is_registered", [False, True])
def test_what_fails_at_an_import_is_named(package, register, text, told, is_registered):
    package(text)
    register("Tested-v0", "tested_package:Mine")
    prefix = "" if is_registered else "tested_package:"
    with pytest.raises(ValueError, match=f"^env.id={prefix}Tested-v0: {told}$"):
        probe_env_spec(EnvConfig(id=f"{prefix}Tested-v0"))


def test_an_import_is_not_said_to_be_the_constructor(package):
    doing = []
    package("import gymnasium")
    with pytest.raises(ValueError, match="no such environment"):
        try_env(EnvConfig(id="tested_package:TestedMine-v0"), doing.append)
    assert doing == ["its import"]


@pytest.mark.parametrize("env_id", ["LunarLanderContinuous-v3", "Hopper-v5"])
def test_missing_libraries_of_gymnasiums_tasks_are_named_by_what_installs_them(env_id, monkeypatch):
    for module in [m for m in sys.modules if re.match(r"gymnasium\.envs\.(box2d|mujoco)\b", m)]:
        monkeypatch.delitem(sys.modules, module)
    for missing in ("Box2D", "mujoco", "imageio"):
        monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ValueError, match=f"^env.id={env_id}: .*: make setup-control$"):
        probe_env_spec(EnvConfig(id=env_id))


def test_an_unknown_package_is_named():
    with pytest.raises(ValueError, match=r"cannot import not_a_package.*install it"):
        probe_env_spec(EnvConfig(id="not_a_package:Some-v0"))


@pytest.mark.parametrize(
    "observation_space, action_space, message",
    [
        (spaces.Box(0, 1, (3,)), spaces.Text(2), "actions are .*wrap it"),
        (spaces.Box(0, 1, (3,)), spaces.Box(0, 9, (2,), np.int64), "actions are .*float"),
        (spaces.Box(0, 1, (3,)), spaces.Box(0, np.inf, (2,)), "bounds are not finite"),
        (spaces.Dict(a=spaces.Discrete(3)), spaces.Discrete(2), "observations are .*wrap it"),
        (spaces.Box(0, 255, (8, 8, 4), np.uint8), spaces.Discrete(2), "observations are "),
        (spaces.Box(0, 1, (8, 8)), spaces.Discrete(2), "observations are "),
        (spaces.Box(0, 255, (2, 8), np.uint8), spaces.Discrete(2), "2 x 8 pixels, wanted 3 x 3"),
    ],
)
def test_unusable_spaces_are_refused(register, observation_space, action_space, message):
    register(
        "TestedSpaces-v0",
        SpacesEnv,
        observation_space=observation_space,
        action_space=action_space,
    )
    with pytest.raises(ValueError, match=f"env.id=TestedSpaces-v0: .*{message}"):
        probe_env_spec(EnvConfig(id="TestedSpaces-v0"))


@pytest.mark.parametrize(
    "env_id, action_repeat, message",
    [
        ("CartPole-v1", 0, "action_repeat: got 0"),
        ("ALE/Pong-v5", 2, r"action_repeat: got 2 for an Atari game, wanted 1 and env\.atari"),
    ],
)
def test_unusable_action_repeats_are_refused(env_id, action_repeat, message):
    with pytest.raises(ValueError, match=message):
        probe_env_spec(EnvConfig(id=env_id, action_repeat=action_repeat))


@pytest.mark.parametrize(
    "change, message", [({"image_size": 2}, "2 x 2 pixels"), ({"frame_skip": 0}, "frame_skip")]
)
def test_unusable_atari_settings_are_refused(change, message):
    config = EnvConfig(id="ALE/Pong-v5", atari=replace(AtariConfig(), **change))
    with pytest.raises(ValueError, match=message):
        probe_env_spec(config)


def test_an_environment_whose_packages_are_missing_says_so(register):
    register("TestedMissing-v0", "not_a_package.envs:SomeEnv")
    with pytest.raises(ValueError, match=r"No module named 'not_a_package'\); install it"):
        probe_env_spec(EnvConfig(id="TestedMissing-v0"))


@pytest.mark.parametrize(
    "env_id", ["ALE/Breakout-v5", "CartPole-v1", "Catch-v0", "MinAtar/Breakout-v1"]
)
def test_an_environment_depends_on_its_own_seed_only(env_id: str):
    def frames_of(batch: EnvBatch) -> np.ndarray:
        everyone = range(batch.num_envs)
        first = batch.reset(everyone).frames
        actions = np.ones(batch.num_envs, np.int64)
        later = [batch.step(everyone, actions).observed.frames for _ in range(5)]
        return np.stack([first, *later], axis=1)

    together = frames_of(make_batch(env_id, 3, seeds=[5, 6, 7]))
    np.testing.assert_array_equal(together[1:2], frames_of(make_batch(env_id, 1, seeds=[6])))
    assert len(np.unique(together.reshape(3, -1), axis=0)) > 1


def test_an_environment_that_is_not_what_the_run_was_started_with_is_refused():
    config = EnvConfig(id="CartPole-v1")
    spec = replace(probe_env_spec(config), num_actions=3)
    with pytest.raises(EnvContractError, match=r"got num_actions=2, .*started with num_actions=3:"):
        make_env_batch(Config(env=config), seeds=[0], purpose="training", expected=spec)


@pytest.mark.parametrize(
    ("purpose", "limit"), [("training", 5), ("evaluation", 5), ("final_evaluation", 8)]
)
def test_the_time_limit_is_that_of_the_purpose(purpose, limit):
    env = EnvConfig(id="Catch-v0", max_episode_steps=5, final_eval_max_episode_steps=8)
    batch = make_env_batch(Config(env=env), seeds=[0], purpose=purpose)
    batch.reset([0])
    num_steps = 1
    while not batch.step([0], np.array([1])).truncated[0]:
        num_steps += 1
    assert num_steps == limit


@pytest.mark.parametrize("purpose", ["training", "evaluation", "final_evaluation"])
def test_a_lost_life_ends_episodes_in_training_alone(purpose):
    batch = make_env_batch(Config(env=EnvConfig(id="ALE/Breakout-v5")), seeds=[0], purpose=purpose)
    batch.reset([0])
    steps = batch.step([0], np.array([1]))
    for _ in range(300):
        if steps.terminated[0]:
            break
        steps = batch.step([0], np.array([1]))
    assert steps.terminated[0]
    assert steps.game_over[0] == (purpose != "training")
