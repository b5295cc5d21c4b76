"""Runs mctx's searches one at a time on request; for an interpreter that has jax and mctx.

Started by ``beside_mctx`` as ``python mctx_cost.py '[["gumbel", 16, 6, 256], ...]'`` (algorithm, M,
A, B). Compiles all, prints one JSON line with versions and compile seconds, then answers each line
with an index on stdin by the CPU seconds of one search. Imports nothing of this project.

The model costs next to nothing: no embedding, the root's logits again at every node, the value
looked up by tree and action. mctx's own defaults otherwise.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import jax  # type: ignore[import-not-found, unused-ignore]
import jax.numpy as jnp  # type: ignore[import-not-found, unused-ignore]
import mctx  # type: ignore[import-not-found, unused-ignore]
import numpy as np

Array = Any  # jax.Array, which is unknown where types are checked

_DISCOUNT = 0.997**4
_WARMUP_CALLS = 3


def make_search(
    algorithm: str, num_simulations: int, num_actions: int, batch: int
) -> Callable[[], object]:
    """Return a compiled search."""

    def search(key: Array, logits: Array, values: Array) -> tuple[Array, Array]:
        def recurrent(
            params: None, key: Array, action: Array, embedding: tuple[()]
        ) -> tuple[object, tuple[()]]:
            del params, key
            value = jnp.take_along_axis(values, action[:, None], axis=1)[:, 0]
            reward, discount = 0.1 * value, jnp.full_like(value, _DISCOUNT)
            return mctx.RecurrentFnOutput(
                reward=reward, discount=discount, prior_logits=logits, value=value
            ), embedding

        root = mctx.RootFnOutput(prior_logits=logits, value=values[:, 0], embedding=())
        policy = mctx.gumbel_muzero_policy if algorithm == "gumbel" else mctx.muzero_policy
        output = policy(None, key, root, recurrent, num_simulations)
        return output.action, output.action_weights

    random = np.random.default_rng(0)
    logits, values = random.standard_normal((2, batch, num_actions), dtype=np.float32)
    arguments = (jax.random.PRNGKey(0), jnp.asarray(logits), jnp.asarray(values))
    compiled = jax.jit(search).lower(*arguments).compile()
    return lambda: jax.block_until_ready(compiled(*arguments))


def cpu_seconds(search: Callable[[], object]) -> float:
    """Return the CPU seconds of one search, all threads together."""
    start = time.process_time()
    search()
    return time.process_time() - start


def main(sizes: list[list[Any]]) -> None:
    """Compile, then search on request until stdin ends."""
    # One core and one thread, as our trees; before jax starts its threads.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    jax.config.update("jax_platforms", "cpu")
    start = time.perf_counter()
    searches = [make_search(*size) for size in sizes]
    compile_s = time.perf_counter() - start
    for search in searches:
        for _ in range(_WARMUP_CALLS):
            search()
    versions = {"mctx": mctx.__version__, "jax": jax.__version__, "numpy": np.__version__}
    print(json.dumps(versions | {"compile_s": round(compile_s, 1)}), flush=True)
    for line in sys.stdin:
        print(cpu_seconds(searches[int(line)]), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
