"""When a collapse is noticed, written down again from its definition: all windows of all rows.

Slow and without state, against ``learner.training.collapse``.
"""

import math
from collections.abc import Mapping, Sequence

LATER_THAN_ROWS, LATER_THAN_TRAIN_STEPS, WINDOW = 20, 1_000, 10


def symptoms(row: Mapping[str, float]) -> set[str]:
    """Return the kinds of collapse that one row shows."""

    def of(name: str) -> float:
        return row.get(f"learner/{name}", math.nan)  # neither above nor below any limit

    shown = {
        "policy": of("policy_entropy_share") < 0.02 and of("policy_error_k0") > 0.5,
        "value": of("value_std_ratio") < 0.05 and of("target_value_std") > 0.001,
        "latent": of("latent_rank") < 1.5,
        "units": of("dormant_share") > 0.9,
    }
    return {kind for kind, is_shown in shown.items() if is_shown}


def first_alarms(rows: Sequence[Mapping[str, float]], *, warmup_train_steps: int) -> dict[str, int]:
    """Return kind -> number, from 1 on, of the first row that ends a window of bad rows."""
    alarms: dict[str, int] = {}
    for end in range(len(rows)):
        window = range(end - WINDOW + 1, end + 1)
        if window[0] < LATER_THAN_ROWS:  # counted from 0: the 21st row is number 20
            continue
        steps = rows[window[0]]["learner/train_steps"]
        if steps <= LATER_THAN_TRAIN_STEPS or steps <= warmup_train_steps:
            continue
        for kind in set.intersection(*(symptoms(rows[i]) for i in window)):
            alarms.setdefault(kind, end + 1)
    return alarms
