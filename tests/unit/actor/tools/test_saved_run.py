"""Playing with saved weights: by search, by the policy head alone, at random."""

import json

import numpy as np
import pytest
import torch

from actor.games import evaluation_seeds, greedily, play_episodes
from actor.tools.evaluate import main
from actor.tools.saved_run import load_network, make_saved_planner, play
from efficientzero.config import load_preset
from efficientzero.envs import make_env_batch
from efficientzero.networks import make_network
from efficientzero.process.runtime import StopSignal
from efficientzero.runs.checkpoint import save_checkpoint
from efficientzero.schema import Roots
from efficientzero.search import PriorPlanner, UniformPlanner, make_planner
from tests.support.fakes import tiny_config, tiny_run

CPU = torch.device("cpu")


@pytest.fixture
def run(tmp_path):
    """Return a run folder with a checkpoint of a network that prefers action 2 everywhere."""
    run = tiny_run(tmp_path, tiny_config())
    run.save()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = make_network(run.config, run.env_spec, training=False)
    with torch.no_grad():
        network.prediction.policy_head[1].output.weight.zero_()
        network.prediction.policy_head[1].output.bias.copy_(torch.tensor([0.0, 1.0, 2.0]))
    state = {"train_step": 24, "network": network.state_dict()}
    save_checkpoint(tmp_path / "checkpoints", 24, state, keep=2)
    return run


def observations_of(run, num_envs: int) -> np.ndarray:
    shape = (num_envs, *run.env_spec.observation_shape)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def test_the_prior_plays_the_action_with_the_largest_logit(run):
    network, train_step = load_network(run, CPU)
    assert train_step == 24
    assert not network.training
    choose = greedily(PriorPlanner(network, CPU))
    assert choose(Roots(observations_of(run, 5))).tolist() == [2] * 5


def test_the_search_plays_the_most_visited_action(run):
    network, _ = load_network(run, CPU)
    search = make_planner(
        run.config,
        run.env_spec,
        network,
        batch_size=4,
        device=CPU,
        generator=np.random.default_rng(0),
    )
    roots = Roots(observations_of(run, 4))
    visits = search.run(roots, exploration_noise=False).visit_counts
    chosen = greedily(search)(roots)
    assert (visits[np.arange(4), chosen] == visits.max(1)).all()


@pytest.mark.parametrize("policy", ["search", "prior", "random"])
def test_games_are_those_of_the_final_evaluation(run, policy):
    played = play(run, policy, 0, StopSignal())
    assert played is not None
    assert len(played.results) == run.config.evaluator.final_num_episodes
    # Catch ends after nine env_steps, caught or missed.
    assert {result.length for result in played.results} == {9}
    assert {result.episode_return for result in played.results} <= {-1.0, 1.0}
    assert played.train_step == (None if policy == "random" else 24)


def test_the_prior_meets_the_balls_that_the_evaluation_meets(run):
    # Always right: the paddle ends in the last column, so it catches what falls there.
    envs = make_env_batch(
        run.config, seeds=evaluation_seeds(run.config, 20), purpose="final_evaluation"
    )
    first = envs.reset(range(20)).frames[:, 0]
    wanted = [1.0 if frame[0].argmax() == 4 else -1.0 for frame in first]
    played = play(run, "prior", 20, StopSignal())
    assert played is not None
    assert [result.episode_return for result in played.results] == wanted
    assert len(set(wanted)) == 2


def test_random_play_is_repeatable_and_needs_no_checkpoint(tmp_path):
    run = tiny_run(tmp_path, tiny_config())
    first, second = (play(run, "random", 12, StopSignal()) for _ in range(2))
    assert first == second


def test_a_stop_ends_the_games():
    stop = StopSignal()
    stop.set("SIGINT")
    envs = make_env_batch(tiny_config(), seeds=[0], purpose="evaluation")
    assert play_episodes(envs, greedily(UniformPlanner(3, np.random.default_rng(0))), stop) is None


@pytest.fixture
def no_signal_handlers(monkeypatch):
    """Leave the handlers of the test's process as they are."""
    monkeypatch.setattr("actor.tools.evaluate.install_stop_handlers", lambda stop: None)


def test_the_command_prints_a_line_or_an_object(run, capsys, no_signal_handlers):
    assert main([str(run.directory), "--policy", "prior", "--episodes", "5"]) == 0
    assert "policy prior, train_step 24: mean return" in capsys.readouterr().out
    assert main([str(run.directory), "--policy", "random", "--episodes", "5", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert (values["policy"], values["train_step"], len(values["returns"])) == ("random", None, 5)
    assert values["return_mean"] == pytest.approx(sum(values["returns"]) / 5)
    assert values["config_hash"] == run.config_hash


def test_a_longer_search_is_played_and_kept_beside_the_runs_own(run, capsys, no_signal_handlers):
    played = []
    for options in ((), ("--simulations", "30")):
        assert main([str(run.directory), "--episodes", "3", "--json", *options]) == 0
        played.append(json.loads(capsys.readouterr().out)["num_simulations"])
    assert played == [run.config.search.num_simulations, 30]
    files = {path.name for path in run.directory.glob("evaluation-*")}
    assert files == {"evaluation-search.json", "evaluation-search-30.json"}


@pytest.mark.parametrize(
    "options, message",
    [
        (("--episodes", "-1"), "--episodes: got -1"),
        (("--simulations", "-4"), "evaluator.simulations: got -4"),
        (("--simulations", "8", "--policy", "prior"), "got 8 with --policy prior, wanted search"),
        (("--policy", "prior"), "no checkpoint yet"),
    ],
)
def test_what_cannot_be_played_is_said_in_one_line(
    tmp_path, capsys, no_signal_handlers, options, message
):
    tiny_run(tmp_path, tiny_config()).save()
    assert main([str(tmp_path), *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("launch.py evaluate: error: ") and message in line


def test_a_folder_that_is_no_run_is_named(tmp_path, capsys, no_signal_handlers):
    assert main([str(tmp_path)]) == 2
    assert "not a run's config.json" in capsys.readouterr().err


@pytest.mark.parametrize("policy", ["search", "prior"])
def test_an_agent_with_action_values_plays_the_best_without_a_search(tmp_path, policy):
    run = tiny_run(tmp_path, load_preset("catch-q"))
    network = make_network(run.config, run.env_spec, training=True)
    with torch.no_grad():  # of A = 3 and 11 bins: action 2 is worth most everywhere
        bias = network.prediction.action_value_head[-1].output.bias.view(3, -1)
        bias[2, -1] = 5.0
        network.prediction.policy_head[-1].output.bias.copy_(torch.tensor([9.0, 0.0, 0.0]))
    state = {"train_step": 1, "network": network.state_dict()}
    save_checkpoint(tmp_path / "checkpoints", 1, state, keep=1)
    planner, _ = make_saved_planner(run, policy, 5)
    assert planner.num_simulations == 0
    assert greedily(planner)(Roots(observations_of(run, 5))).tolist() == [2] * 5
