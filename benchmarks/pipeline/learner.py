"""The cost of the learner's loop apart from its network, and of sending weights to many clients.

Part of the pipeline's measurements; alone: ``python -m benchmarks.pipeline.learner [--whole]``. The
batches are resident in memory and the queue is never empty, so that a wait is the learner's own.
"""

from __future__ import annotations

import sys
import time
from statistics import median

import numpy as np
import torch

from benchmarks.measuring import Row, Usage, cpu_seconds, describe_machine, ratio_row
from benchmarks.pipeline.clients import NUM_CLIENTS, weight_clients
from benchmarks.report import print_rows
from efficientzero.config import Config, load_preset
from efficientzero.envs import probe_env_spec
from efficientzero.metrics import SectionTimer
from efficientzero.networks import make_network
from efficientzero.process.devices import keep_freed_memory
from efficientzero.process.runtime import StopSignal
from efficientzero.rpc.stubs import weights_pb2
from efficientzero.schema import EnvSpec
from learner.batches import BatchChecks, BatchFeeder, BatchLoader
from learner.training import Updater, make_optimizer
from learner.training.losses import compute_loss, loss_parts
from learner.weights import Publications, WeightPublisher
from replay.format import TrainingBatch, batch_spec

_MAX_STEP_RATIO = 1.05
_MOST_WAIT_PERCENT = 2.0
_MOST_STALL_MS = 1.0
_MOST_SEEN_S = 1.0
_PATIENCE_S = 120.0
_WARM_UP_STEPS = 3
_TITLE = "the learner's loop, and weights on their way"


def learner_rows(*, quick: bool = True) -> list[Row]:
    """Return all rows; quick: small networks, under a minute of CPU time, else also Atari's."""
    torch.set_num_threads(1)
    keep_freed_memory()  # as the learner does
    rows = []
    for preset, rounds in (("catch", 20), ("atari-small", 10)):
        config = load_preset(preset)
        rows += step_rows(preset, config, rounds=rounds)
        rows += wait_rows(preset, config, num_steps=rounds)
    rows += weight_rows("atari-small", num_publications=5)
    if not quick:
        rows += weight_rows("atari100k", num_publications=5)
        rows += weight_rows("atari100k", dtype="bfloat16", num_publications=5)
    return rows


def step_rows(name: str, config: Config, *, rounds: int) -> list[Row]:
    """Compare the learner's whole train_step with forward, backward, clipping and optimiser alone.

    Both train the same network on batches of the same shape. The whole one augments, keeps and puts
    back statistics, decides on the device and reads its results.
    """
    spec = probe_env_spec(config.env)
    whole, bare = (_Trained(config, spec) for _ in range(2))
    sent = whole.loader.send(_make_batch(config, spec))
    resident = bare.loader.load(bare.loader.send(_make_batch(config, spec)), 0)
    parts = loss_parts(config)

    def whole_step() -> None:
        inputs = whole.loader.load(sent, 0)
        whole.updater.finish(whole.updater.step(inputs, 0, measure=False))

    def bare_step() -> None:
        bare.optimizer.zero_grad(set_to_none=True)
        terms = compute_loss(bare.network, resident, parts, agent=config.agent)
        terms.total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(bare.network.parameters(), config.learner.max_grad_norm)
        bare.optimizer.step()

    samples = cpu_seconds({"whole": whole_step, "bare": bare_step}, rounds=rounds)
    return [
        ratio_row(
            f"learner step / bare, {name}", samples["whole"], samples["bare"], must=_MAX_STEP_RATIO
        ),
        Row(
            name=f"learner step, {name}",
            value=1e3 * median(samples["whole"]),
            unit="ms",
            fastest=1e3 * min(samples["whole"]),
        ),
    ]


def wait_rows(name: str, config: Config, *, num_steps: int) -> list[Row]:
    """Measure how long the learner waits for batches while the queue always has one.

    Wall time, because a wait has no other; medians, because a busy machine may take the core away
    in the middle of one.
    """
    spec, stop = probe_env_spec(config.env), StopSignal()
    trained, waits, steps = _Trained(config, spec), [], []
    checks = BatchChecks(config, spec, largest_target=trained.network.support.largest)
    feeder = BatchFeeder(_Endless(_make_batch(config, spec)), checks, trained.loader, stop)
    feeder.start()
    try:
        for step in range(_WARM_UP_STEPS + num_steps):
            if step == _WARM_UP_STEPS:
                feeder.row()
            started = time.perf_counter()
            ready = feeder.get(timeout_s=_PATIENCE_S)
            taken = time.perf_counter()
            if ready is None:
                raise ValueError(f"no batch in {_PATIENCE_S:g} s")
            inputs = trained.loader.load(ready.sent, 0)
            trained.updater.finish(trained.updater.step(inputs, 0, measure=False))
            waits.append(taken - started)
            steps.append(time.perf_counter() - taken)
    finally:
        stop.set("measured")
    fed = feeder.row()
    waited = median(waits[_WARM_UP_STEPS:]) / median(steps[_WARM_UP_STEPS:])
    return [
        Row(
            name=f"learner's wait / step, {name}",
            value=100.0 * waited,
            unit="%",
            must=_MOST_WAIT_PERCENT,
        ),
        Row(
            name=f"batch assembly, {name}",
            value=fed["learner/batch_assembly_ms"],
            unit="ms",
            note=f"{fed['learner/batch_ready_share']:.0%} ready when wanted",
        ),
    ]


def weight_rows(preset: str, *, num_publications: int, dtype: str = "float32") -> list[Row]:
    """Publish a network's weights to 64 clients in other processes, again and again.

    The stall is the CPU time that publishing takes of the caller's thread: on a busy machine the
    wall would count its other processes.
    """
    config = load_preset(preset)
    network = make_network(config, probe_env_spec(config.env), training=False)
    state = network.inference_state_dict()
    publisher = WeightPublisher()
    publications = Publications(publisher, dtype=getattr(torch, dtype))
    stalls, last_seen = [], []
    with weight_clients(publisher, preset) as arrivals_of:
        for number in range(num_publications + 1):
            wall, cpu = time.monotonic(), time.thread_time()
            publications.publish([weights_pb2.LATEST], state, number)
            stalls.append(1e3 * (time.thread_time() - cpu))
            last_seen.append(max(arrivals_of(number)) - wall)
            if number == 0:
                process = time.process_time()  # the first one is to warm up
        process = time.process_time() - process
    published = publisher.newest(weights_pb2.LATEST)
    assert published is not None
    name = f"{NUM_CLIENTS} clients, {preset} {dtype}"
    return [
        Row(
            name=f"learner's stall, {name}",
            value=median(stalls[1:]),
            unit="ms",
            must=_MOST_STALL_MS,
            fastest=min(stalls[1:]),
        ),
        Row(
            name=f"last has them, {name}",
            value=median(last_seen[1:]),
            unit="s",
            must=_MOST_SEEN_S,
            fastest=min(last_seen[1:]),
            note=f"{len(published.payload) / 1e6:.1f} MB",
        ),
        Row(
            name=f"learner's CPU a pull, {name}",
            value=1e3 * process / num_publications / NUM_CLIENTS,
            unit="ms",
        ),
    ]


class _Trained:
    """A network with the parts that a learner needs to train it."""

    def __init__(self, config: Config, spec: EnvSpec) -> None:
        device = torch.device("cpu")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.network = make_network(config, spec, training=True).train()
        self.optimizer = make_optimizer(self.network, config)
        self.updater = Updater(self.network, self.optimizer, config, SectionTimer("learner"))
        self.loader = BatchLoader(config, spec, device, np.random.SeedSequence(0))


class _Endless:
    """A queue that is never empty."""

    def __init__(self, batch: TrainingBatch) -> None:
        self._batch = batch
        self.dropped_batches = 0

    def drop(self, why: str) -> None:
        raise RuntimeError(why)

    def passed(self) -> None:
        """Every batch is."""

    def get(self, *, timeout_s: float) -> TrainingBatch:
        del timeout_s
        return self._batch


def _make_batch(config: Config, spec: EnvSpec) -> TrainingBatch:
    rng = np.random.default_rng(0)
    size, steps = config.learner.batch_size, config.agent.num_unroll_steps
    wanted = batch_spec(spec, config).items()
    zeros = TrainingBatch(**{name: np.zeros(shape, dtype) for name, (dtype, shape) in wanted})
    policies = rng.dirichlet(np.ones(spec.num_actions), (size, steps + 1))
    return zeros._replace(
        frames=rng.integers(0, 256, zeros.frames.shape).astype(spec.frame_dtype),
        actions=rng.integers(0, spec.num_actions, (size, steps)),
        value_prefixes=rng.normal(size=(size, steps)).astype(np.float32),
        values=rng.normal(size=(size, steps + 1)).astype(np.float32),
        policies=policies.astype(np.float32),
        action_mask=np.ones((size, steps), np.bool_),
        keys=rng.integers(0, 2**63, size, dtype=np.uint64),
        probabilities=rng.uniform(0.001, 0.1, size),
        table_sizes=np.full(size, 1_000, np.int64),
        env_steps=np.arange(size),
    )


def main() -> None:
    """Measure and print."""
    machine, usage = describe_machine(), Usage()
    rows = learner_rows(quick="--whole" not in sys.argv)
    effort = f"{usage.wall_s:.0f} s; this process got {usage.share:.0%} of one core"
    print_rows(rows, machine=machine, effort=effort, as_json="--json" in sys.argv, title=_TITLE)


if __name__ == "__main__":
    main()
