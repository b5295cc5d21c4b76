"""Run mctx on the searches of `tests/mctx_cases.py` and write what it found as JSON.

    pip install 'jax==0.4.30' 'jaxlib==0.4.30' 'mctx==0.0.5'
    python -m tests.golden.make_mctx_golden tests/golden/mctx.json

These versions live with this project's pins. The test of agreement reads the file, so that nobody
needs jax to run it; where mctx is installed it calls `run_mctx` as well.
"""

import functools
import json
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import mctx
import numpy as np

from tests.support.cases.mctx_cases import CASES, HIGHEST_Q, LOWEST_Q, MctxCase, TabularModel


def run_mctx(case: MctxCase) -> dict[str, Any]:
    """Return the Gumbel variables used, and visit counts, Q, weights, actions and root values."""
    model = TabularModel(case)
    logits, values = jnp.asarray(model.logits), jnp.asarray(model.values)
    rewards, next_states = jnp.asarray(model.rewards), jnp.asarray(model.next_states)
    discount = -case.discount if case.num_players == 2 else case.discount

    def step(_: Any, __: Any, action: Any, state: Any) -> tuple[Any, Any]:
        after = next_states[state, action]
        output = mctx.RecurrentFnOutput(
            reward=rewards[state, action],
            discount=jnp.full(action.shape, discount),
            prior_logits=logits[after],
            value=values[after],
        )
        return output, after

    states = jnp.asarray(model.root_states)
    root = mctx.RootFnOutput(prior_logits=logits[states], value=values[states], embedding=states)
    illegal = None if model.legal_actions is None else jnp.asarray(~model.legal_actions)
    arguments: dict[str, Any] = {
        "num_simulations": case.num_simulations,
        "invalid_actions": illegal,
    }
    key = jax.random.PRNGKey(case.seed)
    if case.algorithm == "puct":
        output: Any = mctx.muzero_policy(
            None, key, root, step, **arguments, dirichlet_fraction=0.0, qtransform=_known_bounds()
        )
        gumbel = None
    else:
        output = mctx.gumbel_muzero_policy(
            None,
            key,
            root,
            step,
            **arguments,
            qtransform=functools.partial(
                mctx.qtransform_completed_by_mix_value,
                value_scale=case.value_scale,
                maxvisit_init=case.maxvisit_init,
                rescale_values=case.rescale_values,
            ),
            max_num_considered_actions=case.max_considered_actions,
            gumbel_scale=case.gumbel_scale,
        )
        gumbel = np.asarray(output.search_tree.extra_data.root_gumbel).tolist()
    summary = output.search_tree.summary()
    return {
        "gumbel": gumbel,
        "visit_counts": np.asarray(summary.visit_counts).tolist(),
        "child_q": np.asarray(summary.qvalues).tolist(),
        "root_values": np.asarray(summary.value).tolist(),
        "action_weights": np.asarray(output.action_weights).tolist(),
        "actions": np.asarray(output.action).tolist(),
    }


def _known_bounds() -> Any:
    return functools.partial(mctx.qtransform_by_min_max, min_value=LOWEST_Q, max_value=HIGHEST_Q)


def main(path: Path) -> None:
    """Write the golden file."""
    golden: dict[str, Any] = {
        "versions": {
            "mctx": mctx.__version__,
            "jax": jax.__version__,
            "numpy": np.__version__,
        },
        "cases": {case.name: run_mctx(case) for case in CASES},
    }
    path.write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
