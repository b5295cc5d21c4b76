"""Batched MuZero search trees in C++.

Works on float arrays only: no network, no latents, no torch. Used by `efficientzero.search`;
`_core.pyi` shows the loop that the caller runs.
"""

import pkgutil

# In a checkout this folder hides the installed package, and the binary is only in the latter.
__path__ = pkgutil.extend_path(__path__, __name__)

try:
    from mcts_cpp._core import SearchParams, TreeBatch
except ModuleNotFoundError as error:
    if error.name != "mcts_cpp._core":
        raise
    raise ImportError(
        "mcts_cpp._core is not built; run `make setup` or `pip install -e .`"
    ) from error

from mcts_cpp.sampled_actions import SPARE_LOGIT, sampled_logits

__all__ = ["SPARE_LOGIT", "SearchParams", "TreeBatch", "sampled_logits"]
