"""What a run may take from another one: found, refused, named and linked. Snapshots by hand."""

import dataclasses
import re
import zlib

import pytest
import torch

import launch
from deploy.ablate.__main__ import grid_arguments, parse
from deploy.ablate.check import check_cells, finished_runs
from deploy.ablate.command import Slot, launch_command
from deploy.ablate.grid import Grid, expand
from deploy.checks.fork import find_fork, place_fork
from deploy.checks.fork_checks import check_fork
from deploy.checks.preflight import PreflightError
from deploy.launching.groups import run_group
from deploy.supervising.topology import processes
from efficientzero.config import validate
from efficientzero.config.files import ConfigError, config_hash
from efficientzero.config.preset_files import load_preset
from efficientzero.envs import probe_env_spec
from efficientzero.runs.checkpoint import save_checkpoint
from efficientzero.runs.lineage import PARENT_CHECKPOINT, Lineage
from efficientzero.runs.run_folder import RunInfo, write_json
from replay.snapshots.facts import read_snapshot
from replay.snapshots.folder import in_order
from tests.support.cases.config_cases import changed
from tests.support.fakes import tiny_config, tiny_run
from tests.support.snapshots_by_hand import record, write_snapshot

OLD, NEW = "2026-01-01T00:00:00", "2026-01-02T00:00:00"


@pytest.fixture
def parent(tmp_path):
    """A run of 100 env_steps with two snapshots: of 60 and of all of them."""
    run = tiny_run(tmp_path / "parent", tiny_config())
    run.save()
    kept = run.directory / "replay-0" / "kept"
    write_snapshot(kept / OLD, inserted=60, content=b"old")
    write_snapshot(kept / NEW, inserted=100, content=b"new")
    return run


def frozen(run, **options):
    return find_fork(run.directory, **{"is_frozen": True, "takes_weights": False, **options})


def forked(run, **options):
    return frozen(run, is_frozen=False, **options)


def kept(run, name):
    return run.directory / "replay-0" / "kept" / name


def save_weights(run, train_step, snapshot, *, projector=True):
    names = ["head.weight", *["projector.weight", "predictor.weight"] * projector]
    state = {
        "train_step": train_step,
        "replay_snapshot": snapshot,
        "network": {name: torch.ones(2) for name in names},
    }
    return save_checkpoint(run.directory / "checkpoints", train_step, state, keep=5)


def tree(folder):
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_counts_and_settings_of_a_snapshot_are_those_in_its_bytes(tmp_path):
    path = write_snapshot(
        tmp_path / "x",
        inserted=70_000,
        deleted=50_001,
        capacity=20_000,
        exponent=0.25,
        queue_size=7,
    )
    facts = read_snapshot(path)
    assert (facts.steps_inserted, facts.num_steps) == (70_000, 19_999)
    assert (facts.capacity, facts.priority_exponent, facts.queue_size) == (20_000, 0.25, 7)


def test_uniform_snapshot_has_no_exponent(tmp_path):
    assert read_snapshot(write_snapshot(tmp_path / "x", exponent=0.0)).priority_exponent == 0.0


def test_digest_follows_the_content_and_not_the_place(tmp_path):
    one, same = write_snapshot(tmp_path / "a"), write_snapshot(tmp_path / "b")
    other = write_snapshot(tmp_path / "c", content=b"other")
    assert read_snapshot(one).digest == read_snapshot(same).digest
    assert read_snapshot(one).digest != read_snapshot(other).digest


@pytest.mark.parametrize("stream", ["tables", "items", "chunks"])
def test_cut_snapshot_is_refused(tmp_path, stream):
    path = write_snapshot(tmp_path / "x") / f"{stream}.tfrecord"
    path.write_bytes(path.read_bytes()[:-6])
    with pytest.raises(ValueError, match="damaged, or never finished"):
        read_snapshot(path.parent)


def test_other_files_in_the_same_framing_are_no_snapshot(tmp_path):
    path = write_snapshot(tmp_path / "x")
    (path / "tables.tfrecord").write_bytes(zlib.compress(record(b"\xff" * 20)))
    with pytest.raises(ValueError, match="not a snapshot of a run's replay"):
        read_snapshot(path)


def test_snapshot_in_another_format_is_refused(tmp_path):
    path = write_snapshot(tmp_path / "x", name="trajectories")
    with pytest.raises(ValueError, match="got steps in 'trajectories', wanted 'trajectories_4'"):
        read_snapshot(path)


def test_newest_snapshot_is_taken_unless_another_is_named(parent):
    assert frozen(parent).facts.steps_inserted == 100
    named = find_fork(kept(parent, OLD), is_frozen=True, takes_weights=False)
    assert (named.facts.steps_inserted, named.parent.directory) == (60, parent.directory)


def test_damaged_newest_snapshot_gives_way_to_the_one_before(parent):
    path = kept(parent, NEW) / "chunks.tfrecord"
    path.write_bytes(path.read_bytes()[:-6])
    assert frozen(parent).snapshot.name == OLD


def test_run_without_a_snapshot_is_refused_with_what_records_one(tmp_path):
    run = tiny_run(tmp_path / "bare", tiny_config())
    run.save()
    with pytest.raises(ConfigError, match=r"no snapshot.*checkpoint_interval.*deterministic"):
        frozen(run)


def test_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="--frozen-replay: wanted a run's folder or a snapshot"):
        find_fork(tmp_path, is_frozen=True, takes_weights=False)


def test_frozen_run_has_the_env_steps_of_its_replay_and_no_actors(parent, tmp_path):
    fork = frozen(parent)
    config = fork.base(None)
    assert (config.budget.env_steps, config.budget.warmup_env_steps) == (100, 0)
    check_fork(fork, config, parent.env_spec)
    run = dataclasses.replace(parent, config=config, lineage=fork.lineage)
    assert [spec.role for spec in processes(run)] == [
        "replay",
        "learner",
        "reanalyzer",
        "evaluator",
    ]
    assert "actor" in [spec.role for spec in processes(parent)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"env.num_stacked_frames": 3}, "env.num_stacked_frames: got 3, wanted 2"),
        ({"env.clip_rewards": False}, "env.clip_rewards: got False, wanted True"),
        ({"agent.num_unroll_steps": 4}, "agent.num_unroll_steps: got 4, wanted 5"),
        ({"agent.td_steps": 6}, "agent.td_steps: got 6, wanted 5"),
        ({"compat.jpeg_frames": True}, "compat.jpeg_frames: got True, wanted False"),
        ({"replay.frames_per_block": 4}, "replay.frames_per_block: got 4, wanted 24"),
        ({"replay.capacity": 500}, "replay.capacity: got 500, wanted 20000"),
        ({"replay.priority_exponent": 0.0}, "replay.priority_exponent: got 0.0, wanted 0.6"),
        ({"replay.queue_size": 5}, "replay.queue_size: got 5, wanted 2"),
        ({"budget.env_steps": 99}, "budget.env_steps: got 99, wanted 100"),
        ({"cluster.num_actors": 2}, "cluster.num_actors: got 2, wanted 1"),
        (
            {"reanalyzer.value_target": "v_trace", "actor.action_rule": "policy"},
            "actor.action_rule: got policy, wanted auto",
        ),
        (
            {"reanalyzer.value_target": "v_trace", "budget.train_steps": 77},
            "budget.schedule_train_steps: got a schedule of 77 train_steps with reanalyzer.value_",
        ),
        ({"cluster.deterministic": True}, "--frozen-replay: got cluster.deterministic"),
        (
            {"league.pool_share": 0.5},
            "league.pool_share: got 0.5, wanted 0.0: tiny's steps do not say whose weights moved",
        ),
    ],
)
def test_what_does_not_fit_the_stored_steps_is_refused(parent, change, message):
    fork = frozen(parent)
    with pytest.raises(ConfigError) as error:
        check_fork(fork, changed(fork.base(None), change), parent.env_spec)
    assert str(error.value).startswith(message)


def test_a_pool_needs_a_parent_with_a_pool_and_somebody_who_plays(parent):
    league = dataclasses.replace(parent.config.league, pool_share=0.5)
    parent = dataclasses.replace(parent, config=dataclasses.replace(parent.config, league=league))
    fork = dataclasses.replace(frozen(parent), parent=parent)
    config = dataclasses.replace(fork.base(None), league=league)
    with pytest.raises(ConfigError, match=r"pool_share: got 0.5 with a frozen replay, wanted 0"):
        check_fork(fork, config, parent.env_spec)


def test_other_environment_and_other_shapes_are_refused(parent):
    fork = frozen(parent)
    with pytest.raises(ConfigError, match=r"env.id: got CartPole-v1, wanted Catch-v0"):
        check_fork(fork, changed(fork.base(None), {"env.id": "CartPole-v1"}), parent.env_spec)
    spec = dataclasses.replace(parent.env_spec, num_actions=9)
    with pytest.raises(
        ConfigError, match=r"got num_actions=9, but .* recorded with num_actions=3$"
    ):
        check_fork(fork, fork.base(None), spec)


@pytest.mark.parametrize(
    "change",
    [
        {"learner.consistency_coefficient": 0.0},
        {"learner.learning_rate": 0.5, "learner.optimizer": "sgd"},
        {"agent.value_prefix": False, "agent.discount": 0.9},
        {"network.channels": 7, "search.num_simulations": 3},
        {"replay.importance_exponent": 0.0, "env.final_eval_max_episode_steps": 9},
        {"budget.train_steps": 77, "seed": 5},
        {"actor.action_rule": "policy"},
        {"reanalyzer.value_target": "v_trace"},
    ],
)
def test_losses_network_search_and_length_may_differ(parent, change):
    fork = frozen(parent)
    check_fork(fork, changed(fork.base(None), change), parent.env_spec)


def test_empty_snapshot_is_refused(tmp_path):
    run = tiny_run(tmp_path / "parent", tiny_config())
    run.save()
    write_snapshot(kept(run, NEW), inserted=0)
    fork = frozen(run)
    with pytest.raises(ConfigError, match="holds no env_step"):
        check_fork(fork, fork.base(None), run.env_spec)


def test_fork_that_plays_on_needs_a_larger_budget(parent):
    fork = forked(parent)
    with pytest.raises(ConfigError, match=r"budget.env_steps: got 100, wanted more than the 100"):
        check_fork(fork, fork.base(None), parent.env_spec)
    check_fork(fork, changed(fork.base(None), {"budget.env_steps": 101}), parent.env_spec)


def test_weights_come_from_the_checkpoint_that_belongs_to_the_snapshot(parent):
    save_weights(parent, 8, OLD)
    save_weights(parent, 16, "2026-01-03T00:00:00")  # its snapshot is gone
    fork = frozen(parent, takes_weights=True)
    assert (fork.train_step, fork.snapshot.name, fork.facts.steps_inserted) == (8, OLD, 60)
    save_weights(parent, 12, NEW)
    assert frozen(parent, takes_weights=True).train_step == 12


def test_weights_without_a_snapshot_of_their_moment_are_refused(parent):
    save_weights(parent, 16, "2026-01-03T00:00:00")
    with pytest.raises(ConfigError, match=r"--fork-weights: no whole checkpoint.*2026-01-03"):
        frozen(parent, takes_weights=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network.channels": 5}, "network.channels: got 5, wanted 4"),
        ({"agent.value_prefix": False}, "agent.value_prefix: got False, wanted True"),
        (
            {"agent.value_function": "action"},
            "agent.value_function: got action, wanted state",
        ),
        ({"learner.optimizer": "sgd"}, "learner.optimizer: got sgd, wanted adamw"),
        ({"learner.consistency": "spr"}, "learner.consistency: got spr, wanted simsiam"),
        (
            {"budget.train_steps": 4, "budget.last_train_steps": 4},
            "budget.train_steps: got 4 and 4 last ones, wanted more than the 8",
        ),
    ],
)
def test_what_does_not_fit_the_weights_is_refused_only_where_they_are_taken(
    parent, change, message
):
    save_weights(parent, 8, NEW)
    without, taking = frozen(parent), frozen(parent, takes_weights=True)
    config = changed(taking.base(None), change)
    check_fork(without, config, parent.env_spec)
    with pytest.raises(ConfigError) as error:
        check_fork(taking, config, parent.env_spec)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("consistency", ["simsiam", "nce", "spr"])
def test_a_projector_can_start_new_and_an_average_cannot(tmp_path, consistency):
    """From a run that was trained by reconstruction alone."""
    without = {"learner.consistency_coefficient": 0.0, "learner.reconstruction_coefficient": 1.0}
    run = tiny_run(tmp_path / "parent", changed(tiny_config(), without))
    run.save()
    write_snapshot(kept(run, NEW), inserted=100)
    save_weights(run, 8, NEW, projector=False)
    fork = frozen(run, takes_weights=True)
    check_fork(fork, fork.base(None), run.env_spec)
    on = {"learner.consistency_coefficient": 2.0, "learner.consistency": consistency}
    config = changed(fork.base(None), on)
    if consistency != "spr":
        check_fork(fork, config, run.env_spec)
        return
    with pytest.raises(
        ConfigError, match=r"consistency: got spr, wanted simsiam, nce or .* has no"
    ):
        check_fork(fork, config, run.env_spec)


@pytest.mark.parametrize("has_projector", [True, False])
def test_a_decoder_is_not_among_the_weights_that_are_taken(parent, has_projector):
    save_weights(parent, 8, NEW, projector=has_projector)
    fork = frozen(parent, takes_weights=True)
    change = {"learner.reconstruction_coefficient": 1.0, "network.decoder_channels": 5}
    without = {} if has_projector else {"learner.consistency_coefficient": 0.0}
    check_fork(fork, changed(fork.base(None), change | without), parent.env_spec)


def test_group_names_the_content_that_was_taken(parent, tmp_path):
    config = frozen(parent).base(None)
    plain = run_group(config)
    lineage = frozen(parent).lineage
    copied = dataclasses.replace(lineage, parent="elsewhere", parent_uid="x", snapshot="y")
    other = dataclasses.replace(lineage, replay_digest="0" * 12)
    played = dataclasses.replace(lineage, is_frozen=False)
    weighted = dataclasses.replace(lineage, weights_digest="1" * 12, train_step=3)
    groups = [run_group(config, x) for x in (None, lineage, other, played, weighted)]
    assert len(set(groups)) == len(groups)
    assert run_group(config, copied) == run_group(config, lineage)
    assert plain == groups[0]
    hashes = [config_hash(config, x.values) for x in (lineage, other, played, weighted)]
    assert len({config_hash(config), *hashes}) == 5


def test_frozen_group_is_named_by_its_replay_and_not_by_the_size_of_it():
    base = load_preset("catch")
    config = changed(base, {"budget.env_steps": 60, "budget.warmup_env_steps": 0})
    taken = Lineage(
        parent="p",
        parent_uid="u",
        parent_group="g",
        snapshot="s",
        replay_digest="0123456789ab",
        env_steps=60,
        is_frozen=True,
    )
    assert run_group(config, taken) == "Catch-v0_catch_frozen=r0123456789ab"


def test_what_is_taken_lies_in_the_new_folder_and_the_other_run_is_untouched(parent, tmp_path):
    save_weights(parent, 8, NEW)
    before = tree(parent.directory)
    fork, target = frozen(parent, takes_weights=True), tmp_path / "arm"
    target.mkdir()
    place_fork(fork, target)
    (placed,) = (target / "replay-0" / "kept").iterdir()
    assert read_snapshot(placed) == fork.facts
    own = placed.with_name("000001-2025-01-01")  # what the run writes itself is newer
    assert in_order([own, placed]) == [placed, own]
    checkpoint = parent.directory / "checkpoints" / "checkpoint_00000008.pt"
    assert (target / PARENT_CHECKPOINT).read_bytes() == checkpoint.read_bytes()
    assert tree(parent.directory) == before


def test_snapshot_that_the_other_run_replaced_meanwhile_is_said(parent, tmp_path):
    fork = frozen(parent)
    (fork.snapshot / "items.tfrecord").unlink()
    with pytest.raises(PreflightError, match="cannot take"):
        place_fork(fork, tmp_path / "arm")


def test_lineage_survives_the_run_file(parent):
    run = dataclasses.replace(parent, lineage=frozen(parent).lineage)
    run.save()
    assert RunInfo.load(run.config_path) == run
    assert RunInfo.load(run.config_path).config_hash != config_hash(run.config)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fork-from", "a", "--frozen-replay", "b"], "got 2 of them, wanted one"),
        (["--fork_weights"], "--fork-weights: wanted --fork-from or --frozen-replay with it"),
        (["--frozen_replay=/nowhere"], "--frozen-replay: wanted a run's folder"),
    ],
)
def test_command_line_names_one_run_to_take_from(arguments, message, capsys):
    assert launch.main(["--local", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_options_not_given_are_the_other_runs(parent, capsys):
    run = str(parent.directory)
    assert launch.main(["--frozen-replay", run, "--learner.momentum", "0.5", "--print-config"]) == 0
    rows = {
        line.split()[0]: line.split()[1] for line in capsys.readouterr().out.splitlines() if line
    }
    assert rows["network.channels"] == "4"  # the tiny run's, not a preset's
    assert rows["learner.momentum"] == "0.5"
    assert rows["budget.env_steps"] == "100"


def test_grid_forks_every_cell_from_the_same_snapshot_and_knows_what_has_finished(parent, tmp_path):
    fork = frozen(parent)
    cells = expand(Grid(components=("consistency",), seeds=(0, 1)), fork.base(None))
    runs_dir = tmp_path / "runs"
    grid = check_cells(cells, runs_dir, fork)
    commands = [
        launch_command(cell, slot=Slot(cpus=(0,)), run_id="x", runs_dir=runs_dir)
        for cell in grid.cells
    ]
    snapshot = str(kept(parent, NEW))
    assert all(c[c.index("--frozen-replay") + 1] == snapshot for c in commands)
    first = grid.cells[0]
    run = tiny_run(runs_dir / "done", first.cell.config)
    run = dataclasses.replace(run, group=first.group, lineage=fork.lineage)
    run.save()
    write_json(run.directory / "summary.json", {"exit_code": 0})
    assert list(finished_runs(runs_dir)) == [first.identity]
    assert [c.finished for c in check_cells(cells, runs_dir, fork).cells] == [
        run.directory,
        None,
        None,
        None,
    ]
    # The same configs without the fork are other experiments.
    plain = [
        dataclasses.replace(c, config=changed(c.config, {"budget.warmup_env_steps": 10}))
        for c in cells
    ]
    assert all(c.finished is None for c in check_cells(plain, runs_dir).cells)


def test_cell_that_does_not_fit_is_named_before_any_starts(parent, tmp_path):
    fork = frozen(parent)
    cells = expand(Grid(components=("priority",)), fork.base(None))
    with pytest.raises(ConfigError, match=r"cell 1 .*replay.priority_exponent: got 0"):
        check_cells(cells, tmp_path, fork)


def test_probe_of_the_environment_agrees_with_what_was_recorded(parent):
    assert probe_env_spec(parent.config.env) == parent.env_spec


def test_grid_for_a_cluster_names_the_snapshot_itself(parent, tmp_path):
    arguments = ["--frozen-replay", "some/where", "--seeds", "0", "--fork-weights", "--jobs=2"]
    save_weights(parent, 8, OLD)
    fork = frozen(parent, takes_weights=True)
    options, _ = parse(arguments, fork)
    kept_options = grid_arguments(options, arguments, fork)
    snapshot = str(kept(parent, OLD))
    assert kept_options[:-2] == ["--seeds", "0", "--frozen-replay", snapshot, "--fork-weights"]


def test_corrected_targets_need_to_know_all_who_acted(parent):
    fork = frozen(parent)
    corrected = {"reanalyzer.value_target": "v_trace"}
    longer = {**corrected, "budget.train_steps": 77}
    constant = {"actor.temperatures": (1.0,), "actor.temperature_fractions": ()}
    steady = dataclasses.replace(parent, config=changed(parent.config, constant))
    same = dataclasses.replace(fork, parent=steady)
    check_fork(same, changed(same.base(None), longer), parent.env_spec)

    # What the refusal names makes it right, for a longer run and for a shorter one.
    for train_steps in (parent.config.budget.train_steps + 20, 7):
        other = changed(fork.base(None), {**corrected, "budget.train_steps": train_steps})
        with pytest.raises(ConfigError) as error:
            check_fork(fork, other, parent.env_spec)
        option = re.search(r"\(--budget\.schedule-train-steps (\d+)\)", str(error.value))
        assert option is not None
        kept_schedule = changed(other, {"budget.schedule_train_steps": int(option[1])})
        validate(kept_schedule)
        check_fork(fork, kept_schedule, parent.env_spec)

    for fields, is_known in (({}, False), (corrected, True)):
        child = dataclasses.replace(
            parent, config=changed(parent.config, fields), lineage=fork.lineage
        )
        second = dataclasses.replace(fork, parent=child)
        check_fork(second, second.base(None), parent.env_spec)
        if is_known:
            continue
        with pytest.raises(ConfigError, match=r"value_target: got v_trace, wanted td: .* has repl"):
            check_fork(second, changed(second.base(None), corrected), parent.env_spec)
