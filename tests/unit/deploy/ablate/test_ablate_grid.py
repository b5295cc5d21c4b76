"""Grids: what they are expanded to, and what is refused before anything runs."""

import json
import re
from pathlib import Path

import pytest

from deploy.ablate.__main__ import find_cell, grid_arguments, main, parse
from deploy.ablate.grid import Grid, arms, expand, override, parse_vary, read_grid
from deploy.launching.components import COMPONENTS
from efficientzero.config.fields import Config
from efficientzero.config.files import ConfigError, config_to_dict, flatten
from efficientzero.config.preset_files import load_preset
from efficientzero.config.validation import validate

CATCH = load_preset("catch")
FILE = """
preset = "catch"
mode = "add-one"
components = ["consistency", "value_prefix"]
envs = ["Catch-v0"]
seeds = [3, 5]
actors = [1, 2]

[set]
"budget.env_steps" = 1000
learner.batch-size = 16

[vary]
search.num_simulations = [4, 8]
"""


@pytest.fixture
def grid_path(tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text(FILE)
    return path


def refusal(tmp_path, text):
    path = tmp_path / "grid.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        read_grid(path)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", COMPONENTS)
def test_each_component_is_there_by_default_and_can_be_taken_away(name):
    full = load_preset("atari100k-v2") if name == "mixed_value" else Config()
    without = override(full, COMPONENTS[name])
    validate(without)
    before, after = flatten(config_to_dict(full)), flatten(config_to_dict(without))
    assert {key for key in before if before[key] != after[key]} == COMPONENTS[name].keys()


def test_the_page_of_ablations_names_each_component_and_what_takes_it_away():
    page = (Path(__file__).parents[4] / "docs" / "guide" / "ablations.md").read_text().splitlines()
    rows = {line.split("`")[1]: line for line in page if re.match(r"\| `[a-z_]+` \| `\w+\.", line)}
    assert rows.keys() == COMPONENTS.keys()
    for name, fields in COMPONENTS.items():
        assert f"`{next(iter(fields))} = " in rows[name]


def test_the_grid_file_that_is_here_is_valid():
    path = Path(__file__).parents[4] / "deploy" / "ablate" / "components.toml"
    options, grid = parse([str(path)])
    assert len(expand(grid, options.config)) == 4 * 3 * 3
    assert options.config.evaluator.interval_train_steps == 20_000


def test_leave_one_out_is_everything_and_everything_but_one():
    assert arms(["consistency", "value_prefix"], "leave-one-out") == {
        "full": {},
        "no_consistency": {"learner.consistency_coefficient": 0.0},
        "no_value_prefix": {"agent.value_prefix": False},
    }


def test_add_one_is_nothing_then_one_alone_then_everything():
    assert arms(["consistency", "value_prefix"], "add-one") == {
        "none": {"learner.consistency_coefficient": 0.0, "agent.value_prefix": False},
        "only_consistency": {"agent.value_prefix": False},
        "only_value_prefix": {"learner.consistency_coefficient": 0.0},
        "full": {},
    }


def test_cells_are_all_combinations_in_a_fixed_order():
    grid = Grid(
        components=("priority",),
        envs=("Catch-v0", "CartPole-v1"),
        seeds=(0, 1),
        vary={"search.num_simulations": (4, 8)},
    )
    cells = expand(grid, CATCH)
    assert [cell.index for cell in cells] == list(range(2 * 2 * 2 * 2))
    assert cells[0].label == "full Catch-v0 num_simulations=4 s0"
    assert cells[1].label == "full Catch-v0 num_simulations=4 s1"
    assert cells[2].label == "full Catch-v0 num_simulations=8 s0"
    assert cells[15].label == "no_priority CartPole-v1 num_simulations=8 s1"
    last = cells[15].config
    assert (last.env.id, last.seed, last.search.num_simulations) == ("CartPole-v1", 1, 8)
    assert last.replay.priority_exponent == 0.0
    assert override(last, {"replay.priority_exponent": 0.6}) == override(
        CATCH,
        {
            "env.id": "CartPole-v1",
            "seed": 1,
            "search.num_simulations": 8,
            "tracking.arm": "no_priority",
            "tracking.ablated": ["replay.priority_exponent"],
            "tracking.varied": ["search.num_simulations"],
        },
    )


def test_a_grid_of_nothing_is_the_base_alone():
    (cell,) = expand(Grid(), CATCH)
    assert cell.config == CATCH


def test_numbers_of_actors_are_an_axis():
    cells = expand(Grid(actors=(1, 4)), CATCH)
    assert [cell.config.cluster.num_actors for cell in cells] == [1, 4]


def test_a_grid_file_says_it_all(grid_path):
    file = read_grid(grid_path)
    assert file.preset == "catch"
    assert file.base == {"budget.env_steps": 1000, "learner.batch_size": 16}
    assert file.grid == Grid(
        components=("consistency", "value_prefix"),
        mode="add-one",
        envs=("Catch-v0",),
        seeds=(3, 5),
        actors=(1, 2),
        vary={"search.num_simulations": (4, 8)},
    )


def test_command_line_wins_over_the_grid_file(grid_path):
    arguments = [str(grid_path), "--seeds", "7", "--learner.batch-size", "8"]
    options, grid = parse([*arguments, "--vary", "search.num_simulations=2"])
    assert grid.seeds == (7,)
    assert grid.actors == (1, 2)
    assert grid.vary == {"search.num_simulations": (2,)}
    assert (options.config.learner.batch_size, options.config.budget.env_steps) == (8, 1000)
    assert options.config.network == CATCH.network


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seed = [1]", "unknown key 'seed' (did you mean 'seeds'?)"),
        ("seeds = 1", "seeds: got 1, wanted a list of int"),
        ('seeds = ["1"]', "wanted a list of int"),
        ("seeds = [true]", "wanted a list of int"),
        ('mode = "both"', "mode: got 'both', wanted one of leave-one-out, add-one"),
        ("set = 3", "set: got 3, wanted a table"),
        ("vary.seed = 1", "vary.seed: got 1, wanted a list"),
        ("seeds = [", "cannot be read as a grid"),
    ],
)
def test_a_grid_file_that_is_wrong_is_refused_in_one_line(tmp_path, text, words):
    assert words in refusal(tmp_path, text)


def test_a_grid_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        read_grid(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("search.num-simulations=4,8", ("search.num_simulations", (4, 8))),
        ("search.algorithm=puct,gumbel", ("search.algorithm", ("puct", "gumbel"))),
        ("agent.value_prefix=true,false", ("agent.value_prefix", (True, False))),
        ("learner.learning_rate=1e-3,0.2", ("learner.learning_rate", (1e-3, 0.2))),
        ("actor.temperatures=[1.0],[1.0, 0.5]", ("actor.temperatures", ([1.0], [1.0, 0.5]))),
    ],
)
def test_values_on_the_command_line_are_toml_or_words(text, wanted):
    assert parse_vary(text) == wanted


@pytest.mark.parametrize("text", ["search.num_simulations", "=4", "search.num_simulations="])
def test_vary_without_field_or_value_is_refused(text):
    with pytest.raises(ConfigError, match="wanted FIELD=VALUE,VALUE"):
        parse_vary(text)


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        (Grid(components=("consistancy",)), "did you mean 'consistency'"),
        (Grid(vary={"search.num_sims": (4,)}), "unknown key 'search.num_sims'"),
        (Grid(vary={"search": (4,)}), "search: got 4, wanted a table"),
        (Grid(vary={"seed.x": (4,)}), "seed is a value"),
        (Grid(vary={"search.num_simulations": ("x",)}), "wanted: Input should be a valid integer"),
        (Grid(vary={"search.num_simulations": ()}), "no value for search.num_simulations"),
        (Grid(vary={"seed": (4,)}), "seed, which is an axis"),
        (Grid(actors=(1,), vary={"cluster.num_actors": (4,)}), "which is an axis"),
        (
            Grid(components=("priority",), vary={"replay.priority_exponent": (0.5,)}),
            "which one of the components switches already",
        ),
    ],
)
def test_a_grid_that_means_nothing_is_refused(grid, words):
    with pytest.raises(ConfigError) as error:
        expand(grid, CATCH)
    assert words in str(error.value)


def test_a_cell_is_found_by_its_number_or_its_place():
    cells = expand(Grid(seeds=(0, 1), vary={"actor.temperatures": ((1.0,), (1.0, 0.5))}), CATCH)
    assert find_cell(cells, "2") is cells[2]
    for cell in cells:
        place = dict(sorted(cell.place.items(), reverse=True))
        assert find_cell(cells, json.dumps(place)) is cell


@pytest.mark.parametrize("which", ["4", "-1", "x", '{"seed": 0}', "[1]"])
def test_a_cell_that_is_not_there_is_refused(which):
    with pytest.raises(ConfigError, match="--cell"):
        find_cell(expand(Grid(seeds=(0, 1, 2, 3)), CATCH), which)


def test_options_that_describe_the_grid_give_the_same_cells_again(grid_path, tmp_path):
    arguments = [str(grid_path), "--seeds", "1", "2", "--jobs=2", "--emit-slurm", "x", "--dry-run"]
    options, grid = parse(arguments)
    kept = grid_arguments(options, arguments)
    assert not {"--jobs=2", "--emit-slurm", "x", "--dry-run"} & set(kept)
    again, same_grid = parse(kept)
    assert expand(same_grid, again.config) == expand(grid, options.config)
    assert again.runs_dir.is_absolute()


def test_env_names_one_environment_and_wins_over_the_grid_file(grid_path):
    for arguments in (["--preset", "catch"], [str(grid_path)]):
        options, grid = parse([*arguments, "--env", "CartPole-v1"])
        assert {cell.config.env.id for cell in expand(grid, options.config)} == {"CartPole-v1"}
    with pytest.raises(ConfigError, match="got both of --env and --envs"):
        parse(["--preset", "catch", "--env", "CartPole-v1", "--envs", "Catch-v0"])


def test_the_short_options_of_launch_are_those_of_a_grid():
    arguments = ["--entity", "me", "--project=Mine", "--reanalyzers", "2", "--compat", "reference"]
    options, _ = parse(["--preset", "catch", *arguments])
    config = options.config
    assert (config.tracking.entity, config.tracking.project) == ("me", "Mine")
    assert config.cluster.num_reanalyzers == 2
    assert config.compat.stale_prefix_bounds


def test_1e5_is_an_integer_in_vary_and_in_a_grid_file(tmp_path):
    name, values = parse_vary("budget.env-steps=1e5,2_000,3e3")
    assert (name, values) == ("budget.env_steps", (100_000, 2_000, 3_000))
    assert all(type(value) is int for value in values)
    assert parse_vary("learner.learning_rate=1e0") == ("learner.learning_rate", (1.0,))
    path = tmp_path / "grid.toml"
    path.write_text(
        'preset = "catch"\nseeds = [1e1]\n[set]\nbudget.env_steps = 1e4\n'
        "[vary]\nsearch.num_simulations = [4, 1e1]\n"
    )
    options, grid = parse([str(path)])
    cells = expand(grid, options.config)
    assert [cell.label for cell in cells] == [
        "Catch-v0 num_simulations=4 s10",
        "Catch-v0 num_simulations=10 s10",
    ]
    assert cells[0].config.budget.env_steps == 10_000
    assert "seeds: got [1.5]" in refusal(tmp_path, "seeds = [1.5]")


def test_without_a_preset_it_says_which_there_are(capsys):
    assert main(["--seeds", "1"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("launch.py ablate: error: --preset: got none, wanted one of atari100k")


@pytest.mark.parametrize("below", ["", "deeper/runs"])
def test_a_file_in_place_of_the_runs_folder_is_refused_by_a_dry_run_too(capsys, tmp_path, below):
    (tmp_path / "runs").touch()
    arguments = ["--preset", "catch", "--dry-run", "--runs-dir", str(tmp_path / "runs" / below)]
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("launch.py ablate: error: --runs-dir: got ")
    assert line.endswith(f"wanted a folder: {tmp_path / 'runs'} is a file")


def test_help_names_components_and_presets(capsys):
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    assert "consistency, value_prefix, off_policy" in text
    assert "--search.num-simulations" in text


def test_dry_run_shows_groups_and_starts_nothing(capsys, tmp_path):
    arguments = ["--preset", "catch", "--components", "priority", "augmentation", "--dry-run"]
    assert main([*arguments, "--runs-dir", str(tmp_path / "runs")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == [
        "0",
        "full",
        "Catch-v0",
        "s0",
        "Catch-v0_catch",
        "0",
        "-",
        "to",
        "run",
    ]
    assert "Catch-v0_catch_priority_exponent=0" in lines[2]
    assert "replay.priority_exponent=0.0" in lines[2]
    assert lines[3].startswith("left out  no_augmentation Catch-v0 s0: the same experiment as full")
    assert not (tmp_path / "runs").exists()


def test_a_component_that_an_agent_never_had_is_noted(capsys, tmp_path):
    names = ["root_noise", "temperature_decay", "reanalyze", "categorical"]
    noted = {}
    for preset in ("catch", "catch-q"):
        arguments = ["--preset", preset, "--components", *names, "--mode", "leave-one-out"]
        assert main([*arguments, "--dry-run", "--runs-dir", str(tmp_path / "runs")]) == 0
        lines = capsys.readouterr().out.splitlines()
        noted[preset] = [line.split()[1] for line in lines if line.startswith("note ")]
    assert noted == {
        "catch": [],
        "catch-q": ["no_root_noise", "no_temperature_decay", "no_reanalyze"],
    }
