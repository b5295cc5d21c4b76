"""Every pair of switches is refused in one line, or trains two steps and searches.

From slices over targets, training and publication to a search with the new weights: the parts are
those of a run, in one process, without services. Whether what is learned is right is tested next
to each switch.
"""

import re

import numpy as np
import pytest
import torch

from actor.actions import ActionChooser
from efficientzero.config import Config, ConfigError, corrects_behaviour, validate
from efficientzero.envs import probe_env_spec
from efficientzero.metrics import SectionTimer
from efficientzero.networks import make_network
from efficientzero.process.runtime import StopSignal
from efficientzero.rpc.stubs import weights_pb2
from efficientzero.rpc.weights_codec import decode_weights
from efficientzero.schema import Ending, Roots, SliceBatch
from efficientzero.search import make_planner
from learner.learner import Learner
from learner.pacing import Governor
from learner.parts import LearnerParts
from learner.records import CheckpointSaver
from learner.weights import WeightPublisher
from reanalyzer.targets.target_maker import TargetMaker
from replay.format import SliceCodec, TrainingBatch
from tests.support.cases.config_cases import changed
from tests.support.cases.switch_cases import SWITCHES, pairs, smallest_agent
from tests.support.fakes import FakeBatchSource, FakePriorities, MemoryTracker, tiny_run

AGENT = smallest_agent()
SPEC = probe_env_spec(AGENT.env)
CPU = torch.device("cpu")
NUM_STEPS, NUM_ROOTS = 2, 4
LEGAL = np.array([[True, True, True], [True, False, True], *[[False, True, True]] * 2])
REFUSAL = re.compile(r"[a-z_.]+: got [^\n]+, wanted [^\n]+")


def slices_of(config: Config, rng: np.random.Generator) -> SliceBatch:
    """Return random slices in the shapes of replay; some end inside their window."""
    codec = SliceCodec(
        SPEC,
        config.agent,
        frames_per_block=config.replay.frames_per_block,
        whole_behaviour=corrects_behaviour(config),
    )
    slices = codec.allocate(config.learner.batch_size)
    size, last = len(slices.keys), codec.window_steps + 1
    left = rng.integers(1, last + 1, size)
    left[0] = last
    endings = rng.choice([int(Ending.TERMINATED), int(Ending.TRUNCATED)], size)

    def until_the_end(values: np.ndarray) -> np.ndarray:
        exists = np.arange(values.shape[1]) < left[:, None]
        return np.where(exists.reshape(*exists.shape, *(1,) * (values.ndim - 2)), values, 0)

    policies = rng.dirichlet(np.ones(SPEC.num_actions), slices.search_policies.shape[:2])
    random = {
        "frames": rng.integers(0, 256, slices.frames.shape),
        "actions": until_the_end(rng.integers(0, SPEC.num_actions, slices.actions.shape)),
        "rewards": until_the_end(rng.normal(size=slices.rewards.shape)),
        "search_policies": until_the_end(policies),
        "root_values": until_the_end(rng.normal(size=slices.root_values.shape)),
        "steps_left": left,
        "endings": np.where(left < last, endings, int(Ending.RUNNING)),
        "positions": rng.integers(0, 9, size),
        "env_steps": rng.integers(0, config.budget.env_steps, size),
        "weights_versions": np.zeros(size),
        "keys": rng.integers(0, 2**63, size),
        "probabilities": rng.uniform(0.01, 0.1, size),
        "table_sizes": np.full(size, 100),
        "priorities": np.ones(size),
        # Groups that the environment does not have.
        **{name: column for name, column in slices._asdict().items() if not column.size},
    }
    assert random.keys() == set(SliceBatch._fields)
    return SliceBatch(
        **{name: random[name].astype(column.dtype) for name, column in slices._asdict().items()}
    )


class Searcher:
    """A process that searches: a network without what only training needs, and its planner."""

    def __init__(self, config: Config) -> None:
        self.network = make_network(config, SPEC, training=False).eval()
        self.planner = make_planner(
            config,
            SPEC,
            self.network,
            batch_size=32,
            device=CPU,
            generator=np.random.default_rng(1),
        )

    def plays(self, config: Config, rng: np.random.Generator) -> np.ndarray:
        """Search at roots of which some have illegal actions, and return what an actor plays."""
        shape = (NUM_ROOTS, *SPEC.observation_shape)
        observations = rng.integers(0, 256, shape).astype(np.uint8)
        result = self.planner.run(Roots(observations, LEGAL), exploration_noise=True)
        np.testing.assert_allclose(result.policies.sum(1), 1.0, rtol=1e-5)
        assert np.isfinite(result.root_values).all() and (result.policies[~LEGAL] == 0).all()
        chooser = ActionChooser(config, NUM_ROOTS, rng, plays_best=self.planner.plays_best)
        actions = chooser.choose(
            result, range(NUM_ROOTS), NUM_STEPS, legal_actions=LEGAL, is_random=False
        )
        assert LEGAL[np.arange(NUM_ROOTS), actions].all()
        return actions


class Training:
    """A learner's parts and observer: two batches and no other process."""

    def __init__(self, folder, config: Config, batches: list[TrainingBatch]) -> None:
        run, self.stop = tiny_run(folder, config), StopSignal()
        governor = Governor(config)
        governor.restore(env_steps=config.budget.env_steps, train_steps=0)
        has_priorities = config.replay.priority_exponent > 0
        self.publisher, self.tracker = WeightPublisher(), MemoryTracker()
        self.learner = Learner(
            run,
            LearnerParts(
                device=CPU,
                batches=FakeBatchSource(batches, self.stop),
                priorities=FakePriorities(config.learner.batch_size) if has_priorities else None,
                publisher=self.publisher,
                governor=governor,
                saver=CheckpointSaver(folder / "checkpoints", keep=1, stop=self.stop),
                tracker=self.tracker,
                stop=self.stop,
            ),
            self,
        )

    def check_health(self) -> None:
        pass

    def trained_on(self, *noted) -> None:
        pass

    def got_priorities(self, largest: float) -> None:
        pass

    def logged(self, row) -> None:
        assert row == self.tracker.rows[-1]

    def extra_state(self) -> dict:
        return {}


@pytest.mark.parametrize(("name", "fields"), pairs(), ids=[name for name, _ in pairs()])
def test_pair_is_refused_or_works(name, fields, tmp_path):
    config = changed(AGENT, fields)
    try:
        validate(config, SPEC)
    except ConfigError as error:
        assert "+" in name, f"refused alone: {error}"
        assert REFUSAL.fullmatch(str(error)), error
        return
    torch.manual_seed(0)
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    searcher = Searcher(config)
    maker = TargetMaker(
        config,
        num_actions=SPEC.num_actions,
        search=searcher.planner,
        generator=rng,
        timer=SectionTimer("reanalyzer"),
    )
    batch = maker.make_batch(slices_of(config, rng), 0)
    training = Training(tmp_path, config, [batch] * NUM_STEPS)
    before = {k: v.clone() for k, v in training.learner.network.inference_state_dict().items()}
    training.learner.run()
    assert training.learner.train_step == NUM_STEPS
    assert [row["learner/train_steps"] for row in training.tracker.rows] == [2]
    newest = training.publisher.newest(weights_pb2.LATEST)
    published = decode_weights(newest.payload, before)
    assert any(not torch.equal(published[key], before[key]) for key in before)
    searcher.network.load_inference_state_dict(published)
    assert searcher.plays(config, rng).shape == (NUM_ROOTS,)


def test_no_two_switches_have_one_name():
    assert len({switch.name for switch in SWITCHES}) == len(SWITCHES)
