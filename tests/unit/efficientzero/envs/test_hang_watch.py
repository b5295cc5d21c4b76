"""An environment that does not return is named, and ends its process."""

import subprocess
import sys
import textwrap
import time

import numpy as np

from efficientzero.envs.batch import EnvStep, SequentialEnvBatch
from efficientzero.schema import EnvSpec

SPEC = EnvSpec(
    env_id="Stuck-v0", frame_shape=(4,), frame_dtype="float32", num_actions=2, num_stacked_frames=1
)


class Peeking:
    """Looks at its batch from inside of its calls."""

    frame_shape, frame_dtype, num_actions, time_limit = (4,), "float32", 2, 0

    def __init__(self):
        self.batch, self.seen = None, []

    def look(self):
        self.seen.append(self.batch.oldest_call())
        return np.zeros(4, np.float32)

    def reset(self):
        return self.look()

    def step(self, action):
        return EnvStep(self.look(), 0.0, False, False, False)

    def close(self):
        self.look()


def test_a_call_is_known_while_it_lasts_and_not_after_it():
    env = Peeking()
    batch = env.batch = SequentialEnvBatch(SPEC, [env])
    before = time.monotonic()
    batch.reset([0])
    assert batch.oldest_call() is None
    batch.step([0], np.array([1]))
    batch.step([0], np.array([1]))
    batch.close()
    assert batch.oldest_call() is None
    assert [call.what for call in env.seen] == [
        "env.id=Stuck-v0: reset",
        "env.id=Stuck-v0: step 1 of an episode",
        "env.id=Stuck-v0: step 2 of an episode",
        "env.id=Stuck-v0: close",
    ]
    assert all(before <= call.since_s <= time.monotonic() for call in env.seen)


def test_a_process_whose_environment_hangs_ends_and_shows_where():
    code = """
        import time
        from efficientzero.envs.hang_watch import Call, watch_for_hangs
        from efficientzero.process.runtime import StopSignal, setup_logging

        def stuck_step():
            time.sleep(600)

        setup_logging("actor", 0)
        started = time.monotonic()
        watch_for_hangs(
            lambda: Call("env.id=Stuck-v0: step 7 of an episode", started), StopSignal(), most_s=0.2
        )
        stuck_step()
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 1
    assert "env.id=Stuck-v0: step 7 of an episode has not returned for " in done.stderr
    assert "in stuck_step" in done.stderr
