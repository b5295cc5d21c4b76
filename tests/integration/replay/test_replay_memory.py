"""The estimate of replay's memory beside the resident memory of a real service."""

import dataclasses
import os
import time
from pathlib import Path

import numpy as np
import pytest

from deploy.checks.memory import replay_memory
from efficientzero.config.fields import Config
from efficientzero.process.runtime import StopSignal
from efficientzero.schema import Ending, EnvSpec, Shown
from replay.info import ReplayInfo, wait_until_ready
from replay.steps.episode_writer import EpisodeWriter
from tests.integration.replay.test_replay_service import PATIENCE_S, free_address, start_service
from tests.support.cases.replay_cases import random_episode

pytestmark = pytest.mark.reverb

VECTOR = EnvSpec(
    env_id="vector",
    frame_shape=(4,),
    frame_dtype="float32",
    num_actions=2,
    num_stacked_frames=1,
)
NOISE = dataclasses.replace(VECTOR, frame_shape=(3, 96, 96), frame_dtype="uint8")


def resident_bytes(pid):
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def bytes_per_transition(folder, spec, *, episodes, length):
    """Return by how much the service grows for each transition after the first fifth."""
    stop, address, seen = StopSignal(), free_address(), []
    process = start_service(folder, address, Config())
    try:
        assert wait_until_ready(address, stop, timeout_s=PATIENCE_S)
        writer, rng = EpisodeWriter(address, spec, Config(), stop), np.random.default_rng(0)
        for number in range(episodes):
            episode = random_episode(spec, rng, number=0, length=length, ending=Ending.TERMINATED)
            for t in range(length):
                writer.append(episode.step(t))
            writer.end(Shown(episode.frames[-1]), episode.ending)
            if number + 1 in (episodes // 5, episodes):
                wait_for_steps(address, (number + 1) * length)
                seen.append(((number + 1) * length, resident_bytes(process.pid)))
        writer.close()
    finally:
        stop.set("end of test")
        process.kill()
        process.communicate()
    (early, little), (late, much) = seen
    return (much - little) / (late - early)


def wait_for_steps(address, num_steps):
    deadline = time.monotonic() + PATIENCE_S
    while ReplayInfo(address).read(timeout_s=30).steps_inserted < num_steps:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_vectors_in_long_episodes_take_what_is_estimated(tmp_path):
    measured = bytes_per_transition(tmp_path, VECTOR, episodes=50, length=200)
    assert measured == pytest.approx(replay_memory(Config(), VECTOR).per_transition, rel=0.25)


@pytest.mark.parametrize(
    ("spec", "episodes", "length"),
    [(VECTOR, 500, 9), (VECTOR, 3000, 1), (NOISE, 10, 200)],
    ids=["short", "of one step", "noise"],
)
def test_nothing_takes_more_than_the_bound(tmp_path, spec, episodes, length):
    measured = bytes_per_transition(tmp_path, spec, episodes=episodes, length=length)
    memory = replay_memory(Config(), spec)
    assert memory.most_per_transition / 3 < measured < memory.most_per_transition
