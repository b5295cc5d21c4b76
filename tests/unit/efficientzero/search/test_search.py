"""The search loop with real networks and the compiled trees."""

import dataclasses

import numpy as np
import pytest
import torch

from efficientzero.config.fields import AgentConfig, CompatConfig, NetworkConfig, SearchConfig
from efficientzero.schema import EnvSpec, Roots
from efficientzero.search.batched_search import BatchedSearch
from tests.reference.reference_gumbel import ReferenceGumbelSearch
from tests.reference.reference_mcts import NetworkOutput, ReferenceParams, ReferenceSearch
from tests.support.cases.mcts_cases import searched_alike
from tests.support.networks import sized_network

SPEC = EnvSpec(
    env_id="x", frame_shape=(4,), frame_dtype="float32", num_actions=3, num_stacked_frames=1
)
SMALL = NetworkConfig(
    mlp_latent_size=8,
    mlp_hidden_size=16,
    head_hidden_size=8,
    lstm_hidden_size=6,
    projector_hidden_size=8,
    projection_size=8,
    predictor_hidden_size=4,
    support_bound=5,
    zero_init_heads=False,
)


def make_search(
    batch_size, *, seed=0, simulations=12, config=SMALL, compat=None, horizon=2, **fields
):
    torch.manual_seed(1)
    network = sized_network(config, SPEC).eval()
    return BatchedSearch(
        network,
        search=SearchConfig(num_simulations=simulations, **fields),
        agent=AgentConfig(value_prefix_horizon=horizon),
        compat=CompatConfig(**(compat or {})),
        policy_width=3,
        batch_size=batch_size,
        device=torch.device("cpu"),
        generator=np.random.default_rng(seed),
    )


def observations(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 4)).astype(np.float32)


def test_every_simulation_is_counted_at_the_root():
    result = make_search(5).run(Roots(observations(5)), exploration_noise=True)
    assert result.visit_counts.sum(1).tolist() == [12] * 5
    np.testing.assert_allclose(result.policies.sum(1), 1, rtol=1e-6)


def test_same_seed_same_search():
    first, second = (
        make_search(4, seed=3).run(Roots(observations(4)), exploration_noise=True) for _ in range(2)
    )
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a, b)


def test_a_root_does_not_depend_on_its_neighbours():
    roots = observations(4)
    search = make_search(4)
    together = search.run(Roots(roots), exploration_noise=False)
    others = roots.copy()
    others[[0, 2, 3]] = observations(3, seed=9)
    apart = search.run(Roots(others), exploration_noise=False)
    assert np.array_equal(together.visit_counts[1], apart.visit_counts[1])
    np.testing.assert_allclose(together.root_values[1], apart.root_values[1], rtol=1e-5)


def test_fewer_roots_than_the_batch_give_the_same_answers():
    roots = observations(30)
    full = make_search(30).run(Roots(roots), exploration_noise=False)
    padded = make_search(37).run(Roots(roots), exploration_noise=False)
    assert padded.visit_counts.shape == (30, 3)
    assert_same_results(full, padded)


@pytest.mark.parametrize("count", [0, 6])
def test_a_wrong_number_of_roots_says_so(count):
    with pytest.raises(ValueError, match=rf"got {count} roots, wanted 1 to 5"):
        make_search(5).run(Roots(observations(count)), exploration_noise=False)


def test_a_network_that_answers_nan_is_named():
    search = make_search(2)
    with torch.no_grad():
        for parameter in search._network.parameters():
            parameter.fill_(float("nan"))
    with pytest.raises(ValueError, match="finite"):
        search.run(Roots(observations(2)), exploration_noise=False)


def test_the_whole_loop_equals_the_slow_search_driven_by_the_same_network():
    for seed in range(20):
        search = make_search(1, seed=seed, simulations=25, inference_backend="eager")
        network, root = search._network, observations(1, seed=seed)
        result = search.run(Roots(root), exploration_noise=False)
        assert_equals_reference(network, root, result, tree_seed=first_tree_seed(seed))


def test_values_as_numbers_are_searched_as_the_reference_search_does():
    config = dataclasses.replace(SMALL, categorical_values=False)
    for seed in range(5):
        search = make_search(1, seed=seed, simulations=25, inference_backend="eager", config=config)
        root = observations(1, seed=seed)
        result = search.run(Roots(root), exploration_noise=False)
        assert_equals_reference(search._network, root, result, tree_seed=first_tree_seed(seed))


@pytest.mark.parametrize(
    ("compat", "fields", "params"),
    [
        ({}, {"normalize_q": False}, {"normalize_q": False}),
        (
            {},
            {"normalize_q": False, "algorithm": "gumbel"},
            {"normalize_q": False, "algorithm": "gumbel"},
        ),
        ({}, {"unvisited_q": "zero"}, {"unvisited_q": "zero"}),
        ({}, {"q_bounds": (-9.0, 9.0)}, {"known_q_bounds": (-9.0, 9.0)}),
        ({"recomputed_bounds": True}, {}, {"recomputed_bounds": True}),
        ({"stale_prefix_bounds": True}, {}, {"stale_prefix_bounds": True}),
        ({"root_visit_without_value": True}, {}, {"root_visit_has_value": False}),
        ({"random_first_child": True}, {}, {"exploration_counts_expansion": False}),
    ],
)
def test_a_switch_changes_the_search_as_in_the_slow_one(compat, fields, params):
    algorithm = fields.get("algorithm", "puct")
    common = {"simulations": 25, "horizon": 5, "inference_backend": "eager"}
    num_changed = 0
    for seed in range(6):
        root = observations(1, seed=seed)
        search = make_search(1, seed=seed, compat=compat, **fields, **common)
        enlarge_rewards_and_values(search._network)
        result = search.run(Roots(root), exploration_noise=False)
        assert_equals_reference(
            search._network, root, result, tree_seed=first_tree_seed(seed), horizon=5, **params
        )
        default = make_search(1, seed=seed, algorithm=algorithm, **common)
        enlarge_rewards_and_values(default._network)
        usual = default.run(Roots(root), exploration_noise=False)
        num_changed += abs(usual.root_values[0] - result.root_values[0]) > 1e-3
    assert num_changed >= 3


def enlarge_rewards_and_values(network):
    """Make rewards and values differ by about 1, so that what a switch changes dwarfs rounding."""
    with torch.no_grad():
        for head, factor in (
            (network.value_prefix_head.classifier, 10),
            (network.prediction.value_head[1], 5),
        ):
            head.output.weight.mul_(factor)
            head.output.bias.mul_(factor)


def first_tree_seed(seed):
    return int(np.random.default_rng(seed).integers(0, 2**64, size=1, dtype=np.uint64)[0])


def assert_equals_reference(network, observation, result, *, tree_seed, horizon=2, **params):
    decode = network.support.decode
    states = {}

    def output(prefix, step):
        return NetworkOutput(
            np.float32(prefix), decode(step.value_logits).numpy()[0], step.policy_logits.numpy()[0]
        )

    is_gumbel = params.get("algorithm") == "gumbel"
    reference = (ReferenceGumbelSearch if is_gumbel else ReferenceSearch)(
        ReferenceParams(discount=AgentConfig().discount, value_prefix_horizon=horizon, **params),
        tree_seed,
    )

    def recurrent(parent, action):
        latent, lstm = states[parent]
        step = network.recurrent_inference(latent, lstm, torch.tensor([action]))
        resets = (depths[parent] + 1) % horizon == 0
        node = len(states)
        depths[node] = depths[parent] + 1
        states[node] = (
            step.latents,
            torch.zeros_like(step.lstm_states) if resets else step.lstm_states,
        )
        return output(decode(step.value_prefix_logits).numpy()[0], step)

    with torch.inference_mode():
        first = network.initial_inference(torch.from_numpy(observation))
        states[0] = (first.latents, network.initial_lstm_states(1))
        depths = {0: 0}
        root = reference.search(output(0.0, first), recurrent, 25)
    counts = [root.children[a].visit_count if a in root.children else 0 for a in range(3)]
    assert counts == result.visit_counts[0].tolist()
    assert root.value() == result.root_values[0]
    assert max(depths.values()) == result.search_depths[0]


def make_backend_search(backend, device="cpu", precision="float32", batch_size=4):
    torch.manual_seed(1)
    network = sized_network(SMALL, SPEC).to(device).eval()
    search = BatchedSearch(
        network,
        search=SearchConfig(num_simulations=12, inference_backend=backend, precision=precision),
        agent=AgentConfig(value_prefix_horizon=2),
        policy_width=3,
        batch_size=batch_size,
        device=torch.device(device),
        generator=np.random.default_rng(0),
    )
    return network, search


@pytest.mark.parametrize(
    ("backend", "device"),
    [
        ("folded", "cpu"),
        pytest.param(
            "graphed",
            "cuda",
            marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
        ),
    ],
)
def test_a_recorded_search_equals_an_eager_one_and_follows_new_weights(backend, device):
    roots = observations(30)
    searches = [
        make_backend_search(each, device, batch_size=len(roots)) for each in ("eager", backend)
    ]
    assert_same_results(*(s.run(Roots(roots), exploration_noise=True) for _, s in searches))
    torch.manual_seed(2)
    newer = sized_network(SMALL, SPEC).inference_state_dict()
    for network, _ in searches:
        network.load_inference_state_dict(newer)
    assert_same_results(*(s.run(Roots(roots), exploration_noise=True) for _, s in searches))


@pytest.mark.parametrize("fields", [{"inference_backend": "eager"}, {"precision": "bfloat16"}, {}])
def test_values_without_a_search_are_the_networks_own_in_float32(fields):
    search = make_search(4, **fields)
    given = torch.from_numpy(observations(9))  # more than the search's batch
    network = search._network
    with torch.inference_mode():
        wanted = network.support.decode(network.initial_inference(given).value_logits)
    np.testing.assert_allclose(search.network_values(given), wanted, rtol=1e-5, atol=1e-5)
    torch.manual_seed(2)
    other = sized_network(SMALL, SPEC).eval()
    network.load_inference_state_dict(other.inference_state_dict())
    with torch.inference_mode():
        changed = other.support.decode(other.initial_inference(given).value_logits)
    np.testing.assert_allclose(search.network_values(given), changed, rtol=1e-5, atol=1e-5)
    assert np.abs(changed - wanted).max() > 1e-2


def test_a_bfloat16_search_stays_close_to_float32():
    roots = observations(4)
    exact, rounded = (
        make_backend_search("eager", precision=p)[1].run(Roots(roots), exploration_noise=False)
        for p in ("float32", "bfloat16")
    )
    assert rounded.root_values.dtype == np.float32
    np.testing.assert_allclose(rounded.root_values, exact.root_values, rtol=0.1, atol=0.1)
    assert not np.array_equal(rounded.root_values, exact.root_values)


@pytest.mark.parametrize(
    ("backend", "precision", "message"),
    [
        ("folded", "bfloat16", r"got folded on cpu in bfloat16, wanted a CPU and float32"),
        ("graphed", "float32", r"got graphed on cpu, wanted CUDA"),
    ],
)
def test_a_backend_that_cannot_run_here_is_refused_before_the_first_search(
    backend, precision, message
):
    with pytest.raises(ValueError, match=message):
        make_backend_search(backend, precision=precision)


def test_without_onednn_folding_is_refused_by_name_and_auto_searches_all_the_same(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"without oneDNN.*use eager, or pip install torch=="):
        make_backend_search("folded")
    results = [
        make_backend_search(b)[1].run(Roots(observations(4)), exploration_noise=True)
        for b in ("auto", "eager")
    ]
    for column, other in zip(*results, strict=True):
        np.testing.assert_array_equal(column, other)  # the same calls in the same process


def assert_same_results(first, second):
    """Assert that two searches of many roots differ by the network's rounding alone."""
    for name in ("predicted_values", "prior_logits"):
        got, wanted = getattr(first, name), getattr(second, name)
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)
    same = searched_alike(first.visit_counts, second.visit_counts)
    np.testing.assert_allclose(
        first.root_values[same], second.root_values[same], rtol=1e-4, atol=1e-5
    )


def make_gumbel_search(seed=0):
    torch.manual_seed(1)
    network = sized_network(SMALL, SPEC).eval()
    return BatchedSearch(
        network,
        search=SearchConfig(num_simulations=8, algorithm="gumbel"),
        agent=AgentConfig(value_prefix_horizon=2),
        policy_width=3,
        batch_size=16,
        device=torch.device("cpu"),
        generator=np.random.default_rng(seed),
    )


def test_gumbel_search_recommends_a_visited_action_and_an_improved_policy():
    result = make_gumbel_search().run(Roots(observations(16)), exploration_noise=True)
    np.testing.assert_allclose(result.policies.sum(1), 1, rtol=1e-5)
    assert (result.policies > 0).all(), "completed Q gives every action some weight"
    chosen = result.visit_counts[np.arange(16), result.best_actions]
    assert np.array_equal(chosen, result.visit_counts.max(1))


def test_gumbel_search_explores_with_noise_and_repeats_itself_without():
    roots = observations(16)
    quiet, again = (
        make_gumbel_search(seed).run(Roots(roots), exploration_noise=False) for seed in (1, 2)
    )
    assert np.array_equal(quiet.best_actions, again.best_actions)
    first, second = (
        make_gumbel_search(seed).run(Roots(roots), exploration_noise=True) for seed in (1, 2)
    )
    assert not np.array_equal(first.visit_counts, second.visit_counts)


@pytest.mark.parametrize("num_parts", [2, 3])
def test_parts_that_take_turns_find_what_one_batch_finds(num_parts):
    torch.manual_seed(1)
    network = sized_network(SMALL, SPEC).eval()
    whole, split = (
        BatchedSearch(
            network,
            search=SearchConfig(num_simulations=12),
            agent=AgentConfig(value_prefix_horizon=2),
            policy_width=3,
            batch_size=31,
            device=torch.device("cpu"),
            generator=np.random.default_rng(0),
            num_parts=parts,
        )
        for parts in (1, num_parts)
    )
    roots = observations(30)
    first = whole.run(Roots(roots), exploration_noise=True)
    second = split.run(Roots(roots), exploration_noise=True)
    assert_same_results(first, second)
    assert second.visit_counts.shape == (30, 3)
    for root in range(30):
        tree = split.export_tree(root)
        assert tree["nodes"][0]["visits"] == 13
        assert tree["nodes"][0]["value"] == pytest.approx(float(second.root_values[root]))


@pytest.mark.parametrize("algorithm", ["puct", "gumbel"])
def test_flatter_root_priors_leave_less_of_what_no_value_supports(algorithm):
    def searched(**fields):
        # Values are all zero, so that the search has no reason to prefer an action.
        config = dataclasses.replace(SMALL, zero_init_heads=True)
        search = make_search(64, config=config, algorithm=algorithm, simulations=60, **fields)
        with torch.no_grad():
            head = search._network.prediction.policy_head[-1].output
            head.bias.copy_(torch.tensor([0.0, 1.0, 2.0]))
        return search

    flat = {"root_policy_temperature": 2.0, "root_exploration_fraction": 0.0}
    plain, flatter = searched(root_exploration_fraction=0.0), searched(**flat)
    policies = [
        search.run(Roots(observations(64)), exploration_noise=True).policies.mean(0)
        for search in (plain, flatter)
    ]
    for policy, heat in zip(policies, (1.0, 2.0), strict=True):
        expected = np.exp(np.arange(3) / heat) / np.exp(np.arange(3) / heat).sum()
        np.testing.assert_allclose(policy, expected, atol=0.05)
    played = [
        search.run(Roots(observations(64)), exploration_noise=False) for search in (plain, flatter)
    ]
    for a, b in zip(*played, strict=True):  # evaluation takes the policy as it is
        np.testing.assert_array_equal(a, b)
    logits = flatter.run(Roots(observations(64)), exploration_noise=True).prior_logits
    np.testing.assert_allclose(logits, np.tile([0.0, 1.0, 2.0], (64, 1)), atol=1e-6)
