"""The group of whole configs: equal if and only if the experiments are."""

import itertools
import re

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from deploy.ablate.grid import Grid, expand
from deploy.launching.components import COMPONENTS
from deploy.launching.groups import by_importance, is_used, run_group
from efficientzero.config.fields import Config
from efficientzero.config.files import (
    LATER_NAMED_FIELDS,
    config_to_dict,
    experiment_values,
)
from efficientzero.config.preset_files import PRESETS, load_preset
from efficientzero.runs.name_parts import abbreviations, initials, short_names
from efficientzero.runs.naming import run_name
from tests.support.cases.config_cases import CHANGES, FIELDS, changed, values_of

# Written out a second time, by hand: all that differs in these is the same experiment.
CANNOT_CHANGE_RESULTS = {
    "seed",
    "preset",
    "search.num_threads",
    "search.inference_backend",
    "actor.pipeline",
    "learner.num_devices",
    "learner.compile",
    "learner.log_interval",
    "learner.checkpoint_interval",
    "learner.checkpoints_kept",
    "tracking.mode",
    "tracking.entity",
    "tracking.project",
    "tracking.arm",
    "tracking.ablated",
    "tracking.varied",
    "cluster.deterministic",
    "cluster.evaluator",
    "cluster.bind_host",
    "cluster.replay_host",
    "cluster.replay_port",
    "cluster.replay_tls",
    "cluster.replay_network",
    "cluster.learner_port",
    "cluster.device",
    "cluster.learner_device",
    "cluster.actor_device",
    "cluster.reanalyzer_device",
    "cluster.evaluator_device",
    "cluster.max_restarts",
    "cluster.threads_per_process",
    "cluster.metrics_interval_seconds",
    "cluster.env_check_seconds",
}


TREATMENT = {"tracking.arm", "tracking.ablated", "tracking.varied"}
"""Of these, a name that is too long for every difference shows what it can first."""


def experiment(config: Config) -> dict:
    """Return what makes the experiment, by the list above."""
    flat = {}

    def walk(value, prefix):
        for key, inner in value.items():
            if isinstance(inner, dict):
                walk(inner, f"{prefix}{key}.")
            elif prefix + key not in CANNOT_CHANGE_RESULTS:
                flat[prefix + key] = inner

    walk(config_to_dict(config), "")
    return flat


@pytest.mark.slow
@settings(max_examples=250, deadline=None)
@given(preset=st.sampled_from(PRESETS), first=CHANGES, second=CHANGES, start_alike=st.booleans())
def test_groups_are_equal_if_and_only_if_the_experiments_are(preset, first, second, start_alike):
    one = changed(load_preset(preset), first)
    other = changed(one if start_alike else load_preset(preset), second)
    treatment = {key: getattr(one.tracking, key.partition(".")[2]) for key in TREATMENT}
    groups = run_group(one), run_group(changed(other, treatment))
    assert (groups[0] == groups[1]) == (experiment(one) == experiment(other))
    for config, group in zip((one, other), groups, strict=True):
        # wandb: 128 characters, and what fits a path of a URL.
        assert re.fullmatch(r"[A-Za-z0-9._=+-]{1,128}", run_name(group, config.seed))


@settings(max_examples=100, deadline=None)
@given(
    changes=CHANGES,
    same=st.sampled_from(sorted(CANNOT_CHANGE_RESULTS)).flatmap(
        lambda key: st.tuples(st.just(key), values_of(FIELDS[key], key))
    ),
)
def test_what_cannot_change_results_does_not_change_the_group(changes, same):
    config = changed(Config(), changes)
    group = run_group(config)
    if same[0] in TREATMENT and re.search(r"_\d+-more_|=\S{9,}_[0-9a-f]{12}$", group):
        assert run_group(changed(config, dict([same])))[-12:] == group[-12:]
    else:
        assert run_group(changed(config, dict([same]))) == group


@settings(max_examples=100, deadline=None)
@given(
    key=st.sampled_from(sorted(FIELDS.keys() - CANNOT_CHANGE_RESULTS)).flatmap(
        lambda key: st.tuples(st.just(key), values_of(FIELDS[key], key))
    )
)
def test_a_single_difference_from_the_defaults_is_named_with_its_value(key):
    name, value = key
    config = changed(Config(), dict([key]))
    group = run_group(config)
    if name in ("env.id", "env.kwargs", "tracking.group_suffix") or config == Config():
        return
    leaf = name.rpartition(".")[2]
    pattern = rf"ALE-Pong-v5_(?:[a-z]+\.)?{leaf}=\S+" + r"|ALE-Pong-v5_[0-9a-f]{12}"
    assert re.fullmatch(pattern, group), (key, group)
    assert value is not None


VARIED = sorted(
    FIELDS.keys()
    - CANNOT_CHANGE_RESULTS
    - {"env.id", "env.kwargs", "tracking.group_suffix", "preset"}
)
BASE = CHANGES.map(
    lambda changes: {k: v for k, v in changes.items() if k not in ("env.id", *TREATMENT)}
)


def varied_values(key):
    """Return a strategy of two values of a field that a study may compare."""
    kinds = {
        float: st.sampled_from([0.0, 0.1, 0.12345678, 0.12345679, 3e-5, 1e20, 2.0]),
        int: st.sampled_from([0, 1, 2, 50, 100, 120_000, 2**31]),
        tuple[float, ...]: st.sampled_from([(), (1.0,), (1.0, 0.5)]),
        tuple[str, ...]: st.sampled_from([("random",), ("mcts-50",), ("random", "minimax")]),
    }
    kind = FIELDS[key]
    return st.lists(
        kinds.get(kind, values_of(kind, key)), min_size=2, max_size=2, unique_by=repr
    ).map(tuple)


VARY = st.lists(st.sampled_from(VARIED), min_size=1, max_size=4, unique=True).flatmap(
    lambda keys: st.fixed_dictionaries({key: varied_values(key) for key in keys})
)
SUFFIXES = st.text("abcxyz0123456789_.+-", max_size=20)
BUDGETS = st.sampled_from(
    [{}, {"budget.env_steps": 20_000, "budget.train_steps": 200, "learner.batch_size": 16}]
)
ENVS = st.sampled_from(["", "CartPole-v1", "ALE/MontezumaRevenge-v5", "MinAtar/SpaceInvaders-v1"])
COMPONENT_NAMES = st.lists(st.sampled_from(sorted(COMPONENTS)), max_size=3, unique=True)


def value_text(value):
    """Return a value as a name has it, written a second time."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "+".join(map(value_text, value)) or "none"
    if isinstance(value, str):
        return value.replace("_", "-")
    if isinstance(value, float) and not value.is_integer():
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    if value >= 2**53:
        return f"{value:g}".replace("e+", "e")
    return str(int(value))


def is_named(key, value, group):
    """Tell whether the field is in the name, by letters of it at least, with its whole value."""

    def letters_of_key(name):
        letters = iter(key)
        return all(letter in letters for letter in name)

    text = re.escape(value_text(value))
    names = [match[1] for match in re.finditer(rf"(?=_([a-z][\w.]*)={text}_)", f"{group}_")]
    ends = ["_".join(name.split("_")[i:]) for name in names for i in range(name.count("_") + 1)]
    return any(letters_of_key(end) for end in ends)


@settings(max_examples=30, deadline=None)
@given(
    preset=st.sampled_from(PRESETS),
    base=BASE,
    vary=VARY,
    components=COMPONENT_NAMES,
    mode=st.sampled_from(["leave-one-out", "add-one"]),
    budget=BUDGETS,
    suffix=SUFFIXES,
    env=ENVS,
)
def test_what_differs_between_two_cells_of_a_grid_is_readable_in_both_names(
    preset, base, vary, components, mode, budget, suffix, env
):
    ablated = {key for name in components for key in COMPONENTS[name]}
    vary = {key: values for key, values in vary.items() if key not in ablated}
    base |= {**budget, "tracking.group_suffix": suffix} | ({"env.id": env} if env else {})
    grid = Grid(components=tuple(components), mode=mode, vary=vary)
    cells = expand(grid, changed(load_preset(preset), base))
    groups = [run_group(cell.config) for cell in cells]
    for cell, group in zip(cells, groups, strict=True):
        values, arm = experiment(cell.config), cell.config.tracking.arm
        is_cut = re.search(r"_\d+-more_", group) is not None
        # Short environment, arm and suffix, number of the cut, digest and initials leave this.
        if sum(len(value_text(values[key])) for key in vary) > 20:
            continue
        for key in vary:
            # A short name has everything but the preset's values.
            named = is_named(key, values[key], group)
            assert named or (not is_cut and f"{key.rpartition('.')[2]}=" not in group), (key, group)
        if arm and is_cut and not all(is_named(key, values[key], group) for key in ablated):
            short = "_".join(word[:4] for word in arm.split("_"))
            assert f"_arm={arm}_" in group or f"_arm={short}_" in group, group
    experiments = [experiment(cell.config) for cell in cells]
    for one, other in itertools.combinations(range(len(cells)), 2):
        if groups[one] == groups[other]:
            assert experiments[one] == experiments[other]


REPORTED = [
    (
        "cartpole",
        {
            "budget.env_steps": 20_000,
            "budget.train_steps": 200,
            "learner.batch_size": 16,
            "actor.num_envs": 4,
            "evaluator.num_episodes": 2,
            "replay.capacity": 1000,
            "learner.publish_interval": 5,
        },
        ("consistency",),
        {
            "learner.learning_rate": (1e-3, 2e-3),
            "search.num_simulations": (4, 8),
            "agent.discount": (0.9, 0.99),
            "reanalyzer.off_policy_tau": (0.1, 0.3),
        },
    ),
    (
        "atari100k",
        {
            "env.id": "ALE/MontezumaRevenge-v5",
            "learner.batch_size": 128,
            "tracking.group_suffix": "first_try_of_mine",
        },
        ("value_prefix", "consistency", "importance_weights"),
        {
            "search.root_exploration_fraction": (0.1, 0.25),
            "learner.learning_rate": (0.1, 0.2),
            "reanalyzer.off_policy_tau": (0.1, 0.3),
            "search.num_simulations": (25, 50),
        },
    ),
    (
        "atari100k",
        {
            "env.id": "ALE/MontezumaRevenge-v5",
            "learner.batch_size": 128,
            "tracking.group_suffix": "a_suffix_of_forty_characters_0123456789_",
        },
        ("importance_weights",),
        {
            "search.root_exploration_fraction": (0.1, 0.25),
            "learner.learning_rate": (0.1, 0.2),
            "reanalyzer.off_policy_tau": (0.1, 0.3),
        },
    ),
]


@pytest.mark.parametrize(("preset", "base", "components", "vary"), REPORTED)
def test_large_grids_show_every_axis_in_every_name(preset, base, components, vary):
    cells = expand(
        Grid(components=components, vary=vary),
        changed(load_preset(preset), base),
    )
    groups = [run_group(cell.config) for cell in cells]
    for cell, group in zip(cells, groups, strict=True):
        values = experiment(cell.config)
        assert len(group) <= 106
        if re.search(r"_[0-9a-f]{12}$", group):  # others have all but the preset's values
            assert all(is_named(key, values[key], group) for key in vary), group
    # Without digest and number of the cut: what a reader compares.
    readable = {re.sub(r"_\d+-more|_[0-9a-f]{12}$", "", group) for group in groups}
    assert len(readable) == len(groups)


def test_abbreviated_fields_of_a_config_are_no_other_fields_name():
    for kwargs in ({}, {"size": 4, "num_simulations": 3, "nsi": 1}):
        names = short_names(list(experiment_values(changed(Config(), {"env.kwargs": kwargs}))))
        longer = abbreviations(names)
        short = initials(names, longer)
        owners = {}
        for of_key in (names, longer, short):
            for key, name in of_key.items():
                assert owners.setdefault(name, key) == key
        assert max(map(len, short.values())) <= 6
    assert short["learner.learning_rate"] == "lr"
    assert short["agent.value_prefix"] == "vp"


def test_a_field_that_is_added_leaves_the_names_of_those_before_it_as_they_were():
    names = short_names(list(experiment_values(Config())))
    longer = abbreviations(names)
    short = initials(names, longer)
    # Without the order, network.support_bins and learner.momentum_tau would lengthen two of these.
    assert longer["network.support_bound"] == "support"
    assert short["network.support_bound"] == "sb"
    assert short["learner.momentum"] == "mom"
    assert longer["learner.consistency_coefficient"] == "consistency"
    earlier = {key: name for key, name in names.items() if key != LATER_NAMED_FIELDS[-1]}
    before = abbreviations(earlier)
    for now, then in ((longer, before), (short, initials(earlier, before))):
        assert {key: now[key] for key in earlier} == then


def test_a_removed_field_leaves_the_names_of_the_others_as_they_were():
    names = short_names(list(experiment_values(Config())))
    # Not "ns", which it shared with replay.num_shards.
    assert initials(names, abbreviations(names))["search.num_simulations"] == "nsi"


def test_budgets_and_evaluations_do_not_push_the_ablated_component_out_of_the_name():
    base = {
        "budget.env_steps": 200,
        "budget.train_steps": 20,
        "budget.last_train_steps": 2,
        "evaluator.interval_train_steps": 10,
        "evaluator.num_episodes": 2,
        "evaluator.final_num_episodes": 2,
    }
    full, without = (
        run_group(cell.config)
        for cell in expand(Grid(components=("value_prefix",)), changed(load_preset("catch"), base))
    )
    assert full.startswith("Catch-v0_catch_value_prefix=true_")
    assert without.startswith("Catch-v0_catch_value_prefix=false_")


def test_fields_that_nothing_reads_are_the_first_to_be_cut():
    read = {"search.algorithm": "gumbel", "search.pb_c_init": 1.0, "search.gumbel_value_scale": 1.0}
    rank = by_importance(experiment_values(changed(Config(), read)))
    assert rank.index("evaluator.num_episodes") < rank.index("search.pb_c_init")
    assert rank.index("search.gumbel_value_scale") < rank.index("budget.env_steps")
    assert rank[0] == "learner.consistency_coefficient"


def test_a_field_that_both_searches_read_is_not_cut():
    for algorithm in ("puct", "gumbel"):
        values = {"search.algorithm": algorithm, "search.root_policy_temperature": 1.25}
        rank = by_importance(experiment_values(changed(Config(), values)))
        assert rank.index("search.root_policy_temperature") < rank.index("budget.env_steps")
        is_puct = rank.index("search.value_delta_max") < rank.index("budget.env_steps")
        assert is_puct == (algorithm == "puct")


@pytest.mark.parametrize(
    ("change", "read"),
    [
        ({}, {"learner.consistency", "learner.momentum"}),
        ({"learner.optimizer": "adamw"}, {"learner.consistency"}),
        ({"learner.consistency_coefficient": 0.0}, {"learner.momentum"}),
        (
            {"learner.optimizer": "adamw", "learner.consistency": "spr"},
            {"learner.consistency", "learner.momentum_tau"},
        ),
        (
            {"learner.reconstruction_coefficient": 1.0},
            {"learner.consistency", "learner.momentum", "learner.reconstruction_train_steps"},
        ),
        (
            {"learner.consistency": "nce"},
            {"learner.consistency", "learner.momentum", "learner.nce_temperature"},
        ),
    ],
)
def test_settings_of_losses_that_are_not_used_are_cut_first(change, read):
    rank = by_importance(experiment_values(changed(Config(), change)))
    asked = {
        *("consistency", "momentum", "momentum_tau", "nce_temperature"),
        "reconstruction_train_steps",
    }
    last = rank.index("evaluator.num_episodes")
    assert {f"learner.{n}" for n in asked if rank.index(f"learner.{n}") < last} == read


_OF_SEARCHES = {
    *("search.root_exploration_fraction", "search.pb_c_init", "search.normalize_q", "search.prior"),
    *("search.value_delta_max", "search.gumbel_value_scale", "compat.recomputed_bounds"),
}
_WITHOUT_SEARCH = {
    *(_OF_SEARCHES | {"actor.temperatures", "reanalyzer.policy_reanalyze_ratio"}),
    *("reanalyzer.search_simulations", "learner.value_prefix_coefficient"),
}


@pytest.mark.parametrize(
    ("preset", "change", "unread"),
    [
        ("catch-q", {}, _WITHOUT_SEARCH),
        ("catch-q", {"actor.action_rule": "policy"}, _WITHOUT_SEARCH),
        (
            "catch-q",
            {"agent.num_unroll_steps": 5},
            _WITHOUT_SEARCH - {"learner.value_prefix_coefficient"},
        ),
        (
            "catch-q",
            {"agent.num_unroll_steps": 5, "evaluator.simulations": 8},
            _WITHOUT_SEARCH
            - (_OF_SEARCHES - {"search.gumbel_value_scale"})
            - {"learner.value_prefix_coefficient"},
        ),
        (
            "catch-q",
            {"search.improved_policy": "softmax_q"},
            _WITHOUT_SEARCH - {"search.normalize_q", "search.value_delta_max"},
        ),
        (
            "q-search",
            {},
            {"actor.temperatures", "reanalyzer.policy_reanalyze_ratio"}
            | {"reanalyzer.search_simulations", "search.gumbel_value_scale"},
        ),
        ("catch", {}, {"search.gumbel_value_scale"}),
        (
            "catch",
            {"search.algorithm": "gumbel"},
            {"actor.temperatures", "search.pb_c_init", "search.root_exploration_fraction"}
            | {"search.value_delta_max"},
        ),
    ],
)
def test_settings_of_searches_that_are_never_made_are_cut_first(preset, change, unread):
    values = experiment_values(changed(load_preset(preset), change))
    found = {key for key in _WITHOUT_SEARCH if not is_used(key, values)}
    rank = by_importance(values)
    last = rank.index("evaluator.num_episodes")
    assert {key for key in _WITHOUT_SEARCH if rank.index(key) > last} == found
    assert found == unread


def test_numbers_of_actors_and_reanalyzers_are_named():
    counts = {"cluster.num_actors": 8, "cluster.num_reanalyzers": 2}
    config = changed(load_preset("catch"), counts)
    assert run_group(config) == "Catch-v0_catch_num_actors=8_num_reanalyzers=2"


def test_a_field_name_that_two_parts_share_keeps_its_part():
    config = changed(Config(), {"learner.precision": "float32"})
    assert run_group(config) == "ALE-Pong-v5_learner.precision=float32"


def test_environments_that_differ_in_a_replaced_character_have_different_names():
    groups = [run_group(changed(Config(), {"env.id": env})) for env in ("my:E-v0", "my-E-v0")]
    assert groups[1] == "my-E-v0"
    assert re.fullmatch(r"my-E-v0_[0-9a-f]{12}", groups[0])


def test_arguments_of_the_environment_are_named_as_fields_are():
    kwargs = {"size": 4, "id": "hard", "wide": True}
    assert run_group(changed(Config(), {"env.kwargs": kwargs})) == (
        "ALE-Pong-v5_kwargs.id=hard_size=4_wide=true"
    )
    words = {run_group(changed(Config(), {"env.kwargs": {"a": value}})) for value in (True, "true")}
    assert len(words) == 2
