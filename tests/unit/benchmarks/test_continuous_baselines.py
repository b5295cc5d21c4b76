"""Plain SAC and PPO of continuous actions: their equations by hand, and short real trainings."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from torch import distributions as D

from benchmarks.baselines.command import BaselinesCommand, plan, train_baselines
from benchmarks.baselines.ppo import PpoConfig, Rollout, ppo_loss
from benchmarks.baselines.ppo_continuous import GaussianAgent, Moments
from benchmarks.baselines.replay import Replay
from benchmarks.baselines.sac import Learner, SacConfig, squashed, train_sac
from benchmarks.baselines.tasks import Task
from efficientzero.config.preset_files import load_preset
from efficientzero.schema import EnvSpec, EnvSteps, Observed

SPEC = EnvSpec(
    env_id="Pendulum-v1",
    frame_shape=(3,),
    frame_dtype="float32",
    num_actions=0,
    num_stacked_frames=1,
    action_kind="continuous",
    action_size=2,
)
SMALL = SacConfig(hidden_size=8, learning_starts=40, batch_size=16)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(7)


def test_the_squashed_gaussian_has_the_density_of_torch():
    mean, log_scale, noise = torch.randn(3, 50, 2, dtype=torch.float64).unbind()
    actions, densities = squashed(mean, log_scale, noise)
    policy = D.TransformedDistribution(
        D.Independent(D.Normal(mean, log_scale.exp()), 1), D.TanhTransform(cache_size=1)
    )
    raw = mean + log_scale.exp() * noise
    assert policy.transforms[0](raw).equal(actions)  # kept, so that no atanh rounds
    torch.testing.assert_close(densities, policy.log_prob(policy.transforms[0](raw)))


def test_far_out_the_density_is_finite_and_has_a_gradient():
    mean = torch.tensor([[30.0]], requires_grad=True)
    actions, densities = squashed(mean, torch.zeros(1, 1), torch.zeros(1, 1))
    densities.sum().backward()
    assert actions.item() == 1.0 and mean.grad.item() == pytest.approx(2.0)
    assert densities.item() == pytest.approx(60.0 - 0.5 * np.log(2 * np.pi) - 2 * np.log(2))


def test_the_scale_of_sac_stays_within_its_bounds():
    learner = Learner(SPEC, SMALL)
    torch.nn.init.constant_(learner.policy.layers[-1].bias, 100.0)
    assert learner.policy(torch.zeros(1, 3))[1].tolist() == [[2.0, 2.0]]
    torch.nn.init.constant_(learner.policy.layers[-1].bias, -100.0)
    assert learner.policy(torch.zeros(1, 3))[1].tolist() == [[-5.0, -5.0]]


def constant_critic(critic, first, second):
    """Let both networks answer with a number, whatever they see."""
    for network, value in zip(critic.networks, (first, second), strict=True):
        for parameter in network.parameters():
            torch.nn.init.zeros_(parameter)
        torch.nn.init.constant_(network[-1].bias, value)


def test_targets_are_the_smaller_q_and_the_entropy_unless_the_episode_ended():
    learner = Learner(SPEC, SMALL)
    constant_critic(learner.target, 5.0, 3.0)
    learner.log_temperature.data.fill_(float(np.log(0.5)))
    rewards, discounts = torch.tensor([1.0, 2.0]), torch.tensor([0.9, 0.0])
    following = torch.randn(2, 3)
    torch.manual_seed(1)
    _, densities = learner.policy.draw(following)
    torch.manual_seed(1)
    targets = learner.q_targets(rewards, following, discounts)
    wanted = [1.0 + 0.9 * (3.0 - 0.5 * densities[0].item()), 2.0]
    assert targets.tolist() == pytest.approx(wanted)
    assert not targets.requires_grad


def test_an_update_of_the_critic_moves_both_to_the_target_and_the_average_follows():
    learner = Learner(SPEC, SMALL)
    constant_critic(learner.critic, 5.0, -5.0)
    constant_critic(learner.target, 5.0, -5.0)
    seen, rewards, discounts = torch.zeros(2, 3), torch.tensor([1.0, 3.0]), torch.zeros(2)
    batch = (seen, torch.zeros(2, 2), rewards, seen, discounts)
    assert learner.q_loss(batch).item() == pytest.approx((16 + 4) / 2 + (36 + 64) / 2)
    learner.update_critic(batch)
    first, second = (network[-1].bias.item() for network in learner.critic.networks)
    # Adam's first step is the learning rate.
    assert (first, second) == pytest.approx((5.0 - 1e-3, -5.0 + 1e-3), abs=1e-6)
    learner.update_target()
    moved = learner.target.networks[0][-1].bias.item()
    assert moved == pytest.approx(5.0 - 0.005 * 1e-3, abs=1e-6)


def test_an_update_of_the_policy_climbs_q_and_the_temperature_follows_the_entropy():
    learner = Learner(SPEC, SMALL)
    observations = torch.randn(16, 3)
    constant_critic(learner.critic, 0.0, 0.0)
    for network in learner.critic.networks:  # Q = relu(relu(10 * first number of the action))
        network[0].weight.data[0, 3] = 10.0
        network[2].weight.data[0, 0] = 1.0
        network[4].weight.data[0, 0] = 1.0
    critic = [parameter.clone() for parameter in learner.critic.parameters()]
    before = learner.policy.best(observations)[:, 0].mean().item()
    for _ in range(20):
        learner.update_policy(observations)
    assert learner.policy.best(observations)[:, 0].mean().item() > before + 0.005
    assert all(map(torch.equal, critic, learner.critic.parameters()))
    # The policy is nearly as wide as can be, above the wanted entropy of -2: less temperature.
    assert -0.021 < learner.log_temperature.item() < -0.019
    torch.nn.init.constant_(learner.policy.layers[-1].bias, -100.0)  # as narrow as can be
    learner = Learner(SPEC, SMALL)
    torch.nn.init.constant_(learner.policy.layers[-1].bias[2:], -100.0)
    learner.update_policy(observations)
    assert learner.log_temperature.item() == pytest.approx(1e-3)


def test_the_loss_of_ppo_is_that_of_a_batch_by_hand():
    agent = GaussianAgent(SPEC)
    for parameter in agent.parameters():
        torch.nn.init.zeros_(parameter)
    agent.value[-1].bias.data.fill_(1.0)
    actions = torch.tensor([[0.0, 0.0], [1.0, 2.0]])
    of_now = D.Normal(0.0, 1.0).log_prob(actions).sum(1)
    drawn = of_now - torch.log(torch.tensor([1.5, 0.5]))  # ratios 1.5 and 0.5
    batch = Rollout(
        observations=torch.zeros(2, 3),
        actions=actions,
        log_probabilities=drawn,
        values=torch.tensor([1.0, 0.0]),
        advantages=torch.tensor([3.0, 1.0]),
        returns=torch.tensor([2.0, 3.0]),
    )
    # Advantages are normalised to 1 / sqrt(2) and its negative. The first ratio counts as 1.2, the
    # second as 0.8; the second value may move by 0.2 only, which is farther from its return.
    policy = -(1.2 - 0.8) / 2 / 2**0.5
    value = 0.5 * ((2.0 - 1.0) ** 2 + (3.0 - 0.2) ** 2) / 2
    entropy = D.Normal(torch.zeros(2), 1.0).entropy().sum().item()
    config = PpoConfig(entropy_coefficient=0.1)
    wanted = policy + 0.5 * value - 0.1 * entropy
    assert ppo_loss(agent, batch, config).item() == pytest.approx(wanted, rel=1e-5)


def test_actions_of_ppo_have_the_density_of_torch_and_are_clipped_to_be_played():
    agent = GaussianAgent(SPEC)
    agent.log_scale.data = torch.tensor([0.5, 1.0])
    observations = agent.see(np.random.default_rng(0).normal(size=(20, 3)), counts=True)
    actions, densities, values = agent.draw(observations)
    policy = D.Independent(D.Normal(agent.mean(observations), agent.log_scale.exp()), 1)
    torch.testing.assert_close(densities, policy.log_prob(actions))
    judged, entropies, again = agent.judge(observations, actions)
    torch.testing.assert_close(judged, densities)
    torch.testing.assert_close(entropies, policy.entropy())
    torch.testing.assert_close(again, values)
    assert actions.abs().max() > 1.0 and np.abs(agent.taken(actions.detach())).max() == 1.0


def test_moments_in_parts_are_those_of_all_rows():
    rows = np.random.default_rng(0).normal(5.0, 3.0, (100, 2))
    moments = Moments((2,))
    for part in np.split(rows, [1, 10, 60]):
        moments.add(part)
    np.testing.assert_allclose(moments.mean, rows.mean(0), rtol=1e-5)
    np.testing.assert_allclose(moments.variance, rows.var(0), rtol=1e-4)


def test_only_played_steps_count_and_rewards_are_scaled_by_their_sums():
    task = Task(load_preset("pendulum"), num_evaluations=1, num_episodes=1)
    agent = GaussianAgent(task.spec)
    agent.see(np.array([[1.0, 0.0, 2.0]]), counts=True)
    agent.see(np.array([[3.0, 0.0, 2.0]]), counts=True)
    for _ in range(2):  # the second time is the same
        seen = agent.see(np.array([[3.0, 0.0, 2.0]]))
        assert seen.numpy()[0] == pytest.approx([1.0, 0.0, 0.0], abs=1e-2)
    # The step that terminates forgets the sum, as in gymnasium's wrapper.
    raw, terminated = [-8.0, -4.0, -2.0], [False, False, True]
    for reward, end in zip(raw, terminated, strict=True):
        ends = np.array([end])
        seen = Observed(np.zeros((1, 3), np.float32))
        got = agent.rewards(task, EnvSteps(seen, np.array([reward]), ends, ~ends, ~ends))
    sums = [-8.0, -8.0 * 0.99 - 4.0, -2.0]
    assert got[0] == pytest.approx(-2.0 / np.std(sums), rel=1e-2)


def short(algorithms, out, **changes):
    return BaselinesCommand(
        tasks=("pendulum",),
        algorithms=algorithms,
        seeds=(0,),
        env_steps=150,
        num_evaluations=2,
        num_episodes=2,
        out=out,
        **changes,
    )


def returns(folder):
    return {
        path.name: [point["return_mean"] for point in json.loads(path.read_text())["points"]]
        for path in folder.glob("*.json")
    }


def test_seeds_reproduce_trainings_of_sac():
    preset = load_preset("pendulum")
    budget = dataclasses.replace(preset.budget, env_steps=150)
    curves = []
    for seed in (0, 0, 1):
        config = dataclasses.replace(preset, budget=budget, seed=seed)
        task = Task(config, num_evaluations=3, num_episodes=2)
        curves.append([p.return_mean for p in train_sac(task, SMALL).points])
    assert curves[0] == curves[1] != curves[2]
    assert len(set(curves[0])) == 3  # weights change between evaluations


def test_only_ends_that_terminate_hide_the_value_that_follows(monkeypatch):
    preset = load_preset("pendulum")
    budget = dataclasses.replace(preset.budget, env_steps=210)
    task = Task(dataclasses.replace(preset, budget=budget), num_evaluations=1, num_episodes=1)
    envs, discounts = task.make_envs(1), []
    step, add = envs.step, Replay.add

    def step_that_terminates(indices, actions):  # the fifth; the time limit is 200 steps later
        steps = step(indices, actions)
        return steps._replace(terminated=np.array([len(discounts) == 4]))

    monkeypatch.setattr(envs, "step", step_that_terminates)
    monkeypatch.setattr(task, "make_envs", lambda num_envs: envs)
    monkeypatch.setattr(
        "benchmarks.baselines.sac.Replay.add",
        lambda replay, *row: (discounts.append(row[-1]), add(replay, *row)),
    )
    train_sac(task, dataclasses.replace(SMALL, learning_starts=1_000))
    assert discounts == [0.99] * 4 + [0.0] + [0.99] * 205


def test_what_fits_the_actions_is_trained_and_seeds_reproduce_it(tmp_path):
    algorithms = ("ppo", "random")
    assert train_baselines(short(algorithms, tmp_path / "a")) == 0
    assert train_baselines(short(algorithms, tmp_path / "b")) == 0
    found = returns(tmp_path / "a")
    assert {name.split("_")[-2] for name in found} == set(algorithms)
    assert found == returns(tmp_path / "b")
    assert all(-2_000.0 < value < 0.0 for values in found.values() for value in values)
    assert {cell.algorithm for cell in plan(short((), tmp_path))} == {"ppo", "sac", "random"}


@pytest.mark.parametrize(
    ("task", "algorithm", "said"),
    [
        ("pendulum", "dqn", "got dqn for Pendulum-v1, wanted an environment of numbered"),
        ("catch", "sac", "got sac for Catch-v0, wanted an environment of continuous"),
        ("catch", "random-legal", "wanted an environment that shows legal actions"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, task, algorithm, said):
    with pytest.raises(ValueError, match=said):
        plan(BaselinesCommand(tasks=(task,), algorithms=(algorithm,), out=tmp_path))


def test_random_play_of_legal_actions_is_better_where_others_are_lost(tmp_path):
    command = BaselinesCommand(
        tasks=("cartpole",), env="Taxi-v4", seeds=(0,), num_episodes=5, out=tmp_path,
        algorithms=("random", "random-legal"),
    )  # fmt: skip
    assert train_baselines(command) == 0
    legal, all_actions = (v for _, (v,) in sorted(returns(tmp_path).items()))
    # Taxi: -1 a step of 200, -10 for a passenger who cannot be taken or left.
    assert all_actions < -500.0 < -250.0 < legal < 0.0
