"""n-step returns, whose horizon shrinks as data ages (EfficientZero, section 4.3)."""

from __future__ import annotations

import numpy as np

from efficientzero.config import Config, age_per_td_step
from efficientzero.schema import I32, I64, Bool
from reanalyzer.targets.slice_targets import bootstrap_offsets, n_step_returns
from reanalyzer.targets.value_target import Estimates, Needs, Sample, ValueTargets


class TdTarget:
    """Rewards of up to n steps, then the value of the observation that follows."""

    def __init__(
        self,
        config: Config,
        *,
        num_unroll_steps: int | None = None,
        off_policy_correction: bool | None = None,
    ) -> None:
        """Store the settings.

        Args:
            config: the run's config.
            num_unroll_steps: K, if it differs from the config's.
            off_policy_correction: whether horizons shrink with age; default as in the config.
        """
        self._config = config
        self._num_unroll_steps = (
            config.agent.num_unroll_steps if num_unroll_steps is None else num_unroll_steps
        )
        self._is_corrected = off_policy_correction

    def needs(self, sample: Sample) -> Needs:
        """Return the cells to bootstrap from."""
        _, offsets, bootstraps = self._bootstraps(sample)
        values = np.zeros(sample.slices.root_values.shape, np.bool_)  # [B, K + n + 1]
        rows, _ = np.nonzero(bootstraps)
        values[rows, offsets[bootstraps]] = True
        return Needs(values, np.zeros_like(bootstraps))

    def targets(self, sample: Sample, found: Estimates) -> ValueTargets:
        """Return the n-step returns; see ``slice_targets`` for the ends of episodes."""
        td_steps, offsets, bootstraps = self._bootstraps(sample)
        values = n_step_returns(
            sample.slices,
            sample.ends,
            bootstrap_values=np.take_along_axis(found.values, offsets, 1),
            bootstraps=bootstraps,
            td_steps=td_steps,
            discount=self._config.agent.discount,
        )
        return ValueTargets(values, td_steps, bootstraps)

    def _bootstraps(self, sample: Sample) -> tuple[I32, I32, Bool]:
        """Return each slice's horizon, i32 [B], and the result of ``bootstrap_offsets`` for it."""
        td_steps = slice_td_steps(self._config, sample, is_corrected=self._is_corrected)
        return td_steps, *bootstrap_offsets(sample.ends, td_steps, self._num_unroll_steps)


def slice_td_steps(config: Config, sample: Sample, *, is_corrected: bool | None = None) -> I32:
    """Return the horizon of each slice, i32 [B]: n, or fewer steps for old data.

    Args:
        config: the run's config.
        sample: the slices and their ages.
        is_corrected: whether horizons shrink with age; default as in the config.
    """
    agent, reanalyzer = config.agent, config.reanalyzer
    if is_corrected is None:
        is_corrected = reanalyzer.off_policy_correction
    if not is_corrected:
        return np.full(len(sample.env_step_ages), agent.td_steps, np.int32)
    ages: I64 = (
        sample.env_step_ages
        if config.compat.transition_age
        else sample.target_train_step - sample.slices.weights_versions
    )
    return corrected_td_steps(
        ages=ages,
        td_steps=agent.td_steps,
        # Also used for an age in transitions: the reference does not distinguish the two.
        age_per_step=age_per_td_step(reanalyzer, config.budget),
    )


def no_roots_of(config: Config, sample: Sample) -> Bool:
    """Return that no search's root value is read, bool [B, K + 1]."""
    return np.zeros((len(sample.slices.keys), config.agent.num_unroll_steps + 1), np.bool_)


def reached_cells(config: Config, sample: Sample, td_steps: I32) -> tuple[Bool, Bool]:
    """Return what returns with all steps on the way read, each bool [B, K + n + 1].

    The cells with a value up to the end of the last position's horizon, and those before that end
    at which an action was taken.
    """
    last = sample.ends.offsets[:, None]  # [B, 1]
    furthest = config.agent.num_unroll_steps + td_steps[:, None]  # [B, 1]
    cells = np.arange(sample.slices.root_values.shape[1])  # [K + n + 1]
    have_value = (cells < last) | ((cells == last) & sample.ends.have_value[:, None])
    return (cells <= furthest) & have_value, (cells < furthest) & (cells < last)


def corrected_td_steps(*, ages: I64, td_steps: int, age_per_step: float) -> I32:
    """Return the off-policy corrected horizon of each slice, i32 [B].

    Args:
        ages: i64 [B], how old the data is; negative counts as zero.
        td_steps: n, the horizon of fresh data.
        age_per_step: age that shortens the horizon by one step, in the unit of ``ages``.

    The horizon is at least one step.
    """
    shortening = np.floor(np.maximum(ages, 0) / age_per_step)
    steps: I32 = np.clip(td_steps - shortening, 1, td_steps).astype(np.int32)
    return steps
