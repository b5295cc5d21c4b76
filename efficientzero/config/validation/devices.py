"""Which devices a config can give to its processes: called by ``validate``.

Whether a machine has them is for the launcher to see, and for each process.
"""

from __future__ import annotations

import re

from efficientzero.config.derived import DEVICE_ROLES
from efficientzero.config.fields import Config
from efficientzero.config.validation.ranges import require

_NAME = re.compile(r"auto|cpu|cuda(:\d+)?")


def check_devices(config: Config) -> None:
    """Refuse names that are no devices, and lists that do not fit the learner's ranks.

    ``cluster.device`` by itself is checked where it is looked for.

    Raises:
        ConfigError: one line with the field, what was got and what was wanted.
    """
    cluster = config.cluster
    for role in DEVICE_ROLES:
        value: str = getattr(cluster, f"{role}_device")
        names, got = value.split(","), f"cluster.{role}_device: got {value!r}"
        require(
            not value or is_device(value) or ("auto" not in names and all(map(is_device, names))),
            f"{got}, wanted auto, cpu, cuda, cuda:N or a list such as cuda:1,cuda:2",
        )
        require(
            not cluster.deterministic or value in ("", "cpu"),
            f"{got}, wanted cpu or nothing with cluster.deterministic",
        )
    if cluster.learner_device:
        _check_ranks(cluster.learner_device, config.learner.num_devices)


def is_device(name: str) -> bool:
    """Return whether ``name`` can be a device's."""
    return _NAME.fullmatch(name) is not None


def _check_ranks(value: str, num_ranks: int) -> None:
    """Check that each rank of the learner has one device, which is no other rank's."""
    names, got = value.split(","), f"cluster.learner_device: got {value!r}"
    require(
        len(names) in (1, num_ranks),
        f"{got}, wanted one or as many as learner.num_devices ({num_ranks})",
    )
    if num_ranks == 1:
        return
    types = {name.partition(":")[0] for name in names}
    require(len(types) == 1, f"{got}, wanted only CPUs or only CUDA devices: ranks add gradients")
    if types == {"cuda"} and value != "cuda":  # by itself: cuda:0, cuda:1 and so on
        require(
            len(set(names)) == num_ranks and "cuda" not in names,
            f"{got}, wanted cuda, or another device for each of learner.num_devices ({num_ranks})",
        )
