"""Records a simulation once, as a torch or CUDA graph, to run it many times.

Recordings share the network's parameters, or tensors derived from them, so new weights (copied in
place) need no new recording.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

_GRAPH_WARMUP_CALLS = 3


def traced(module: nn.Module, make_examples: Callable[[], tuple[object, ...]]) -> nn.Module:
    """Record ``module``; its recording takes arguments of the examples' shapes.

    Args:
        module: without control flow on data; its shape checks count as made.
        make_examples: is called outside of inference mode and makes arguments for one call.
    """
    # Outside inference mode: parameters that the recording refers to must stay ordinary tensors.
    with torch.inference_mode(mode=False), torch.no_grad(), warnings.catch_warnings():
        # The network's shape checks are constant for one search; tracing warns about each.
        warnings.simplefilter("ignore")
        graph: nn.Module = torch.jit.trace(module, make_examples(), check_trace=False)  # type: ignore[no-untyped-call]
    return graph


def graphed(module: nn.Module, arguments: tuple[Tensor, ...]) -> Callable[[], Tensor]:
    """Capture a call on just these tensors: a CUDA graph knows addresses, not arguments.

    Returns:
        A function that runs it again; it returns the same tensor every time.
    """
    device = arguments[0].device
    side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(_GRAPH_WARMUP_CALLS):
            module(*arguments)
    torch.cuda.current_stream(device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        answer: Tensor = module(*arguments)

    def replay() -> Tensor:
        graph.replay()
        return answer

    return replay
