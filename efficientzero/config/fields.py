"""Every hyperparameter of a run: frozen dataclasses whose defaults are EfficientZero's Atari 100k.

``launch.py`` resolves one ``Config`` (defaults < preset < command line), validates it and writes
it to ``runs/<id>/config.json``; every role reads that file and nothing else. Each docstring under
a field is that field's ``--help``. Derived values are properties.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from efficientzero.config.agent_fields import AgentConfig, CompatConfig, NetworkConfig, SearchConfig
from efficientzero.config.role_fields import (
    ActorConfig,
    EvaluatorConfig,
    LeagueConfig,
    LearnerConfig,
    ReanalyzerConfig,
    ReplayConfig,
)
from efficientzero.config.run_fields import BudgetConfig, ClusterConfig, EnvConfig, TrackingConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One run."""

    seed: int = 0
    """Root of the seed tree; two runs that differ only here are repetitions."""
    preset: str = "atari100k"
    """Name of the preset the run started from."""
    env: EnvConfig = field(default_factory=EnvConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    agent: AgentConfig = field(default_factory=AgentConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    compat: CompatConfig = field(default_factory=CompatConfig)
    actor: ActorConfig = field(default_factory=ActorConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    reanalyzer: ReanalyzerConfig = field(default_factory=ReanalyzerConfig)
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    evaluator: EvaluatorConfig = field(default_factory=EvaluatorConfig)
    league: LeagueConfig = field(default_factory=LeagueConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    @property
    def reanalyzer_simulations(self) -> int:
        """Simulations of a reanalyzer's search."""
        return self.reanalyzer.search_simulations or self.search.num_simulations

    @property
    def evaluator_simulations(self) -> int:
        """Simulations of an evaluation's search."""
        return self.evaluator.simulations or self.search.num_simulations

    @property
    def max_env_steps_ahead(self) -> int:
        """Env_steps that collection may run ahead of its pace (see BudgetConfig)."""
        in_lock_step = self.cluster.num_actors * self.most_envs
        return self.budget.max_env_steps_ahead or 2 * in_lock_step

    @property
    def most_envs(self) -> int:
        """Most environments of an actor; if it chooses, actors may be 0.5 % of the run ahead."""
        ahead = self.budget.max_env_steps_ahead or self.budget.env_steps // 200
        most = min(64, max(1, ahead // (2 * max(1, self.cluster.num_actors))))
        return self.actor.num_envs or most
