"""Which normalisation the convolutional trunk has, and where it keeps its running statistics.

Used by ``conv_trunk`` and ``efficientzero_net``. Batch norm trains on the statistics of each batch
and searches on running ones. Where one layer meets two kinds of input, its running statistics are
a mixture that is right for neither: the prediction heads see encoded latents at roots and predicted
ones in every unrolled step.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import Any, TypeVar

from torch import nn

from efficientzero.config import NetworkConfig
from efficientzero.networks.classifiers import NormFactory

_ModuleT = TypeVar("_ModuleT", bound=nn.Module)


def conv_norm(config: NetworkConfig) -> NormFactory:
    """Return what makes the norm of a layer with that many channels, [B, C, h, w]."""
    if config.norm == "layer":
        return partial(nn.GroupNorm, 1)
    return partial(nn.BatchNorm2d, momentum=config.batch_norm_momentum)


def vector_norm(config: NetworkConfig) -> NormFactory:
    """Return what makes the norm of a layer of the convolutional trunk's heads, [B, features]."""
    if config.norm == "layer":
        return nn.LayerNorm
    return partial(nn.BatchNorm1d, momentum=config.batch_norm_momentum)


def with_own_statistics(module: _ModuleT) -> _ModuleT:
    """Return a module that shares the parameters of ``module`` but has separate running statistics.

    Its parameters are ``module``'s, one tensor each; ``state_dict`` leaves them out here.
    """
    twin = twin_of(module)
    twin.register_state_dict_post_hook(_drop_parameters)  # type: ignore[no-untyped-call]
    twin.register_load_state_dict_pre_hook(_keep_parameters)  # type: ignore[no-untyped-call]
    return twin


def twin_of(module: _ModuleT) -> _ModuleT:
    """Return a copy that shares the parameters of ``module`` and has its own buffers."""
    return copy.deepcopy(module, {id(parameter): parameter for parameter in module.parameters()})


def _drop_parameters(module: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    for name, _parameter in module.named_parameters():
        del state[prefix + name]


def _keep_parameters(module: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    """Restore the dropped entries: the module that owns the parameters loads them."""
    for name, parameter in module.named_parameters():
        state[prefix + name] = parameter.detach()
