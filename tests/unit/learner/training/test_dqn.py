"""Without model, search and other losses the agent is DQN: the same weights and actions."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

from actor.actions import ActionChooser
from efficientzero.config import Config, validate
from efficientzero.metrics import SectionTimer
from efficientzero.networks import make_network
from efficientzero.process.runtime import seed_sequence
from efficientzero.schema import Ending, EnvSpec, Roots
from efficientzero.search import make_planner
from learner.batches.loader import BatchLoader
from learner.training.local_targets import LocalTargets
from learner.training.optimizers import make_optimizer
from learner.training.update import Updater
from reanalyzer.targets.target_maker import TargetMaker
from tests.reference.reference_q_learning import Dqn, Transition
from tests.support.cases.loss_cases import changed
from tests.support.cases.replay_cases import random_episode, window
from tests.support.cases.target_cases import observation_at, slice_batch
from tests.support.fakes import tiny_config
from tests.support.tabular_q import CHAIN, TabularQ, chain_episode, chain_values

SPEC = EnvSpec(
    env_id="x", frame_shape=(3,), frame_dtype="float32", num_actions=2, num_stacked_frames=2
)
CPU = torch.device("cpu")
DISCOUNT, RATE, COPY_EVERY, SIZE = 0.9, 0.05, 7, 8


@pytest.fixture(autouse=True)
def one_thread():
    """Small operations on several threads wait for each other where the machine is busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def dqn_config(spec: EnvSpec, *, rate=RATE, copy_every=COPY_EVERY) -> Config:
    """Return the settings under which nothing but DQN is left."""
    return changed(
        tiny_config(),
        env={"num_stacked_frames": spec.num_stacked_frames},
        agent={
            "value_function": "action",
            "num_unroll_steps": 0,
            "td_steps": 1,
            "value_prefix": False,
            "discount": DISCOUNT,
        },
        network={
            "categorical_values": False,
            "value_transform": "identity",
            "zero_init_heads": False,
        },
        search={"num_simulations": 0},
        actor={"num_envs": 1, "action_rule": "epsilon_greedy"},
        replay={"priority_exponent": 0.0},
        reanalyzer={"policy_reanalyze_ratio": 0.0},
        learner={
            "batch_size": SIZE,
            "optimizer": "sgd",
            "target_network": "local",
            "target_interval": copy_every,
            "huber_delta": 1.0,
            "learning_rate": rate,
            "lr_warmup_fraction": 0.0,
            "lr_decay_rate": 1.0,
            "momentum": 0.0,
            "weight_decay": 0.0,
            "max_grad_norm": 1e9,
            "value_coefficient": 1.0,
            "policy_coefficient": 0.0,
            "consistency_coefficient": 0.0,
            "value_prefix_coefficient": 0.0,
            "augmentation": False,
        },
    )


class Training:
    """A reanalyzer's targets and a learner's updates of given steps of episodes."""

    def __init__(self, config, spec, network):
        self._config, self._spec, self._rng = config, spec, np.random.default_rng(2)
        planner = (
            make_planner(
                config, spec, network.eval(), batch_size=8, device=CPU, generator=self._rng
            )
            if spec is SPEC
            else NoPlanner()
        )
        self._maker = TargetMaker(
            config,
            search=planner,
            num_actions=spec.num_actions,
            generator=self._rng,
            timer=SectionTimer("reanalyzer"),
        )
        self._loader = BatchLoader(config, spec, CPU, seed_sequence(0, "learner", 0, 1))
        self._updater = Updater(
            network.train(),
            make_optimizer(network, config),
            config,
            SectionTimer("learner"),
            targets=LocalTargets(network, config),
        )
        self._train_step = 0

    def update(self, chosen):
        """Train on the steps ``chosen``, pairs of an episode and a place in it."""
        windows = [window(episode, t, self._spec, self._config.agent) for episode, t in chosen]
        slices = slice_batch(windows, self._rng, table_size=100)
        slices = slices._replace(probabilities=np.full(len(chosen), 0.01))
        batch = self._maker.make_batch(slices, self._train_step)
        inputs = self._loader.load(self._loader.send(batch), self._train_step)
        update = self._updater.step(inputs, self._train_step, measure=False)
        self._updater.finish(update)
        self._train_step += 1


class NoPlanner:
    """What a reanalyzer needs where it neither searches nor values anything."""

    batch_size, num_simulations = 8, 0

    def network_values(self, observations):
        raise AssertionError(f"{len(observations)} observations were valued")


class QOf(torch.nn.Module):
    """The network's action values as DQN's function of observations."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, observations):
        return self.network.initial_inference(observations).action_value_logits[..., 0]


def transition(episode, t):
    return Transition(
        torch.tensor(observation_at(episode, t)),
        int(episode.actions[t]),
        float(episode.rewards[t]),
        torch.tensor(observation_at(episode, t + 1)),
        t + 1 == len(episode) and episode.ending == Ending.TERMINATED,
    )


def network_of(config, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make_network(config, SPEC, training=True).train()


def test_the_settings_are_allowed():
    validate(dqn_config(SPEC))


def test_weights_after_50_train_steps_are_dqns():
    config = dqn_config(SPEC)
    network = network_of(config)
    wanted = Dqn(
        QOf(copy.deepcopy(network)), rate=RATE, discount=DISCOUNT, copy_every=COPY_EVERY, huber=1.0
    )
    rng, endings = np.random.default_rng(0), (Ending.TERMINATED, Ending.TRUNCATED)
    memory = [
        random_episode(SPEC, rng, number=n, length=int(rng.integers(1, 9)), ending=endings[n % 2])
        for n in range(30)
    ]
    memory = [dataclasses.replace(e, rewards=(3 * e.rewards).astype(np.float32)) for e in memory]
    steps = [(episode, t) for episode in memory for t in range(len(episode))]
    before, training = copy.deepcopy(network.state_dict()), Training(config, SPEC, network)
    for _ in range(50):
        chosen = [steps[i] for i in rng.integers(len(steps), size=SIZE)]
        training.update(chosen)
        wanted.update([transition(*step) for step in chosen])
    theirs = wanted.q.network.state_dict()
    for name, got in network.state_dict().items():
        error = float((got - theirs[name]).norm() / theirs[name].norm().clamp(min=1e-3))
        assert error < 1e-6, (name, error)
    head = "prediction.action_value_head.1.output.weight"
    assert (theirs[head] - before[head]).norm() > 0.1 * before[head].norm(), "much was learned"
    assert torch.equal(
        theirs["prediction.policy_head.1.output.bias"],
        before["prediction.policy_head.1.output.bias"],
    )


@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0])
def test_actions_are_dqns_with_the_same_epsilon_and_draws(epsilon):
    config = changed(dqn_config(SPEC), actor={"epsilon_start": epsilon, "epsilon_end": epsilon})
    network = network_of(config).eval()
    observations = np.random.default_rng(1).normal(size=(200, 6)).astype(np.float32)
    planner = make_planner(
        config, SPEC, network, batch_size=200, device=CPU, generator=np.random.default_rng(3)
    )
    chooser = ActionChooser(config, 200, np.random.default_rng(4), plays_best=planner.plays_best)
    result = planner.run(Roots(observations), exploration_noise=True)
    got = chooser.choose(result, range(200), 10, legal_actions=None, is_random=False)
    with torch.no_grad():
        q = QOf(network)(torch.tensor(observations)).numpy()
    draws = np.random.default_rng(4)
    is_random, drawn = draws.random(200) < epsilon, draws.random(200)
    wanted = [int(2 * drawn[i]) if is_random[i] else int(q[i, 1] > q[i, 0]) for i in range(200)]
    assert got.tolist() == wanted
    assert 0.02 < np.mean(wanted) < 0.98, "both are best somewhere"


def test_q_of_a_chain_converges_to_value_iteration():
    config = dqn_config(CHAIN, rate=2.0, copy_every=10)
    table, rng = TabularQ(), np.random.default_rng(5)
    memory = [chain_episode(rng) for _ in range(40)]
    steps = [(episode, t) for episode in memory for t in range(len(episode))]
    training = Training(config, CHAIN, table)
    for _ in range(400):
        training.update([steps[i] for i in rng.integers(len(steps), size=SIZE)])
    wanted = chain_values(DISCOUNT)
    np.testing.assert_allclose(wanted[:, 1], DISCOUNT ** np.arange(4, -1, -1))
    np.testing.assert_allclose(table.table.detach().numpy(), wanted, atol=0.02)
