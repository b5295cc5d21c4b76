"""What replay takes and what there is, against made-up machines."""

import dataclasses

import pytest

from deploy.checks import memory
from deploy.checks.memory import available_memory_bytes, check_memory, replay_memory
from deploy.checks.preflight import PreflightError
from deploy.checks.process_memory import process_memory
from efficientzero.config.fields import Config
from efficientzero.schema import EnvSpec
from replay.relay.server import Limits
from tests.support.cases.config_cases import changed

GIB = 2**30
RGB = EnvSpec(
    env_id="x",
    frame_shape=(3, 96, 96),
    frame_dtype="uint8",
    num_actions=6,
    num_stacked_frames=4,
)
VECTOR = dataclasses.replace(RGB, frame_shape=(4,), frame_dtype="float32")


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Return a function that writes the files of a machine with 16 GiB to spare."""
    monkeypatch.setattr(memory, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path / "cgroup")
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "cgroup").mkdir()
    kib = 16 * GIB // 1024
    (tmp_path / "proc" / "meminfo").write_text(f"MemFree: 1 kB\nMemAvailable: {kib} kB\n")

    def write(membership, groups):
        (tmp_path / "proc" / "self" / "cgroup").write_text(membership)
        for group, files in groups.items():
            folder = tmp_path / "cgroup" / group
            folder.mkdir(parents=True, exist_ok=True)
            for name, text in files.items():
                (folder / name).write_text(f"{text}\n")

    return write


def second(limit, used, cache=0):
    stat = f"anon 5\ninactive_file {cache}\nactive_file 7"
    return {"memory.max": limit, "memory.current": used, "memory.stat": stat}


def first(limit, used, cache=0):
    stat = f"inactive_file 3\ntotal_inactive_file {cache}"
    return {
        "memory.limit_in_bytes": limit,
        "memory.usage_in_bytes": used,
        "memory.stat": stat,
    }


def test_without_groups_the_machine_is_the_limit(machine):
    assert available_memory_bytes() == 16 * GIB
    machine("0::/\n", {"": {"cgroup.procs": "1"}})
    assert available_memory_bytes() == 16 * GIB


def test_tightest_group_round_the_process_counts(machine):
    groups = {
        "a": second(3 * GIB, GIB),
        "a/b": second("max", GIB),
        "a/b/c": second(8 * GIB, GIB // 2),
        "other": second(1, 1),
    }
    machine("0::/a/b/c\n", groups)
    assert available_memory_bytes() == 2 * GIB


def test_container_that_sees_its_own_group_as_the_root(machine):
    machine("0::/../../outside\n", {"": second(5 * GIB, GIB)})
    assert available_memory_bytes() == 4 * GIB


def test_pages_of_files_that_can_be_dropped_are_to_spare(machine):
    machine("0::/\n", {"": second(5 * GIB, 4 * GIB, cache=3 * GIB)})
    assert available_memory_bytes() == 4 * GIB


def test_groups_of_the_first_version(machine):
    lines = "9:pids:/a\n4:cpu,memory:/docker/x\n0::/\n"
    unlimited = 9223372036854771712
    groups = {
        "memory": first(unlimited, 3 * GIB),
        "memory/docker": first(unlimited, 3 * GIB),
        "memory/docker/x": first(6 * GIB, 2 * GIB, cache=GIB),
    }
    machine(lines, groups)
    assert available_memory_bytes() == 5 * GIB


def test_group_that_is_over_its_limit_leaves_nothing(machine):
    machine("0::/\n", {"": second(GIB, 2 * GIB)})
    assert available_memory_bytes() == 0


def test_bytes_of_a_transition_and_of_the_whole_by_hand():
    config = changed(Config(), {"replay.capacity": 50_000, "learner.batch_size": 10})
    found = replay_memory(config, VECTOR)
    assert (found.transitions, found.per_transition) == (50_000, 1_100 + 16)
    # frames 9 x 16, actions 5 x 8, prefixes 5 x 4, values 6 x 4, policies 6 x 6 x 4, mask 5,
    # and six numbers of 8 bytes, of each of 10 slices; two batches.
    assert found.queue == 2 * 10 * (144 + 40 + 20 + 24 + 144 + 5 + 48)
    assert found.total == 50_000 * 1_116 + found.queue
    assert found.most == 50_000 * int(1.2 * 1_116 + 1_500) + found.queue


def test_steps_that_can_be_refreshed_take_more():
    config = changed(Config(), {"replay.priority_refresh_share": 0.5})
    more = replay_memory(config, RGB).per_transition - replay_memory(Config(), RGB).per_transition
    assert more == 1_100


def test_short_run_takes_no_more_than_it_plays():
    assert replay_memory(changed(Config(), {"budget.env_steps": 7}), RGB).transitions == 7


def test_it_is_reported_before_the_run_begins(machine):
    text = check_memory(changed(Config(), {"replay.capacity": 10_000}), RGB)
    assert "1,676 bytes a transition, 10,000 transitions" in text
    assert "about 144 MB (at most 488 MB) of 17.2 GB available" in text


def test_frames_that_might_not_compress_are_warned_of(machine):
    machine("0::/\n", {"": second(GIB, 0)})
    elsewhere = {"cluster.bind_host": "10.0.0.1"}
    text = check_memory(changed(Config(), {"replay.capacity": 100_000, **elsewhere}), RGB)
    assert "more than there is room for, if frames do not compress" in text


def test_replay_that_does_not_fit_names_the_field_and_what_fits(machine):
    machine("0::/\n", {"": second(300_000_000, 0)})
    elsewhere = {"cluster.bind_host": "10.0.0.1"}  # the workers
    config = changed(Config(), {"replay.capacity": 100_000, **elsewhere})
    with pytest.raises(PreflightError) as error:
        check_memory(config, RGB)
    queue = replay_memory(config, RGB).queue
    fits = (240_000_000 - queue) // 1_676
    assert str(error.value).startswith(f"--replay.capacity: got 100,000, wanted at most {fits:,}:")
    assert check_memory(changed(config, {"replay.capacity": fits}), RGB)


def test_batches_that_do_not_fit_by_themselves_name_their_size(machine):
    machine("0::/\n", {"": second(100_000_000, 0)})
    with pytest.raises(PreflightError, match=r"^--learner.batch-size: got 256, wanted at most"):
        check_memory(Config(), RGB)


SMALL = {"learner.batch_size": 16, "replay.capacity": 1_000, "evaluator.final_num_episodes": 8}


def test_all_processes_count_and_a_run_that_surely_does_not_fit_is_refused(machine):
    config = changed(Config(), {**SMALL, "cluster.num_actors": 12})
    machine("0::/\n", {"": second(16 * GIB, 0)})
    text = check_memory(config, VECTOR)
    assert "launcher 65 MB, replay 80 MB, learner 310 MB, reanalyzer 301 MB, 12 x actor" in text
    machine("0::/\n", {"": second(4 * GIB, 0)})  # 4.3 GB for an expected 4.6
    text = check_memory(config, VECTOR)
    assert "MORE THAN THERE IS: most is the actor's: lower --actors" in text
    machine("0::/a/b\n", {"": second("max", 0), "a": second(GIB, 0), "a/b": second("max", 0)})
    wanted = r"^memory: got 1\.1 GB available, wanted about .* 12 x actor .*; .* lower --actors$"
    with pytest.raises(PreflightError, match=wanted):
        check_memory(config, VECTOR)


def test_workers_of_a_served_run_take_nothing_here(machine):
    machine("0::/\n", {"": second(GIB, 0)})
    served = {**SMALL, "cluster.num_actors": 12, "cluster.bind_host": "10.0.0.5"}
    text = check_memory(changed(Config(), served), VECTOR)
    assert "actor" not in text
    assert "MORE THAN" not in text


def test_larger_batches_images_and_searches_take_more():
    def grown(role, spec=VECTOR, **fields):
        values = {name.replace("__", "."): value for name, value in fields.items()}
        config = changed(Config(), {**SMALL, **values})
        before = process_memory(changed(Config(), SMALL), VECTOR)[role]
        return process_memory(config, spec)[role] > before

    assert grown("learner", learner__batch_size=512)
    assert grown("learner", spec=RGB)
    assert grown("learner", learner__consistency="nce")
    assert not grown("learner", learner__consistency="nce", learner__consistency_coefficient=0.0)
    assert grown("learner", learner__reconstruction_coefficient=1.0)
    assert grown("reanalyzer", search__num_simulations=800)
    assert grown("actor", actor__num_envs=200)
    assert grown("evaluator", evaluator__final_num_episodes=100)
    assert not grown("replay", learner__batch_size=512)


def test_what_the_relay_holds_is_counted_where_there_is_one():
    def replay_bytes(**cluster):
        fields = {f"cluster.{name}": value for name, value in cluster.items()}
        return process_memory(changed(Config(), {**SMALL, **fields}), VECTOR)["replay"]

    beyond = {"bind_host": "10.0.0.5", "num_reanalyzers": 4}
    alone, relayed = replay_bytes(), replay_bytes(**beyond, num_actors=1)
    # 0.3 MB each, see ``Limits``.
    assert relayed - alone >= 300_000 * Limits().most_without_token
    assert replay_bytes(**beyond, num_actors=101) - relayed == 100 * 500_000
    assert replay_bytes(**beyond, num_actors=101, replay_tls=False) == alone
