"""Who runs where: named at the start, and refused before it if there is no such device."""

import re

import pytest

import launch
from deploy.checks import PreflightError, check_run_devices, device_notes, devices
from efficientzero.config.files import ConfigError
from efficientzero.config.preset_files import load_preset
from efficientzero.config.validation import validate
from tests.support.cases.config_cases import changed

CATCH = load_preset("catch")
SPLIT = {
    "cluster.device": "cuda:0",
    "cluster.learner_device": "cuda:1,cuda:2,cuda:3",
    "learner.num_devices": 3,
    "learner.batch_size": 48,
}
"""The first GPU searches, three others train."""


def on_gpus(monkeypatch, number: int) -> None:
    """Make this machine one with so many GPUs, as far as can be seen without torch."""
    monkeypatch.setattr(devices, "has_cuda_device", lambda: number > 0)
    monkeypatch.setattr(devices, "visible_gpus", lambda: [str(gpu) for gpu in range(number)])


def test_a_config_with_one_device_says_it_in_one_line(monkeypatch):
    on_gpus(monkeypatch, 0)
    assert device_notes(CATCH) == [("device", "cpu (no usable CUDA device found)")]
    assert device_notes(changed(CATCH, {"cluster.device": "cuda:1"})) == [("device", "cuda:1")]


def test_who_runs_where_is_a_table_once_roles_are_apart(monkeypatch):
    on_gpus(monkeypatch, 4)
    actors = {"cluster.num_actors": 3, "cluster.actor_device": "cuda:0,cpu"}
    assert [text for _, text in device_notes(changed(CATCH, {**SPLIT, **actors}))] == [
        "learner-0         cuda:1",
        "rank-1            cuda:2",
        "rank-2            cuda:3",
        "reanalyzer-0      cuda:0",
        "actor-0, actor-2  cuda:0",
        "actor-1           cpu",
        "evaluator-0       cuda:0",
    ]
    without = device_notes(changed(CATCH, SPLIT), has_actors=False)
    assert [text.split()[0] for _, text in without][3:] == ["reanalyzer-0", "evaluator-0"]


def test_ranks_take_the_gpus_in_order_where_none_is_named(monkeypatch):
    on_gpus(monkeypatch, 2)
    config = changed(CATCH, {"learner.num_devices": 2})
    rows = [text.split() for _, text in device_notes(config)]
    assert rows[:2] == [["learner-0", "cuda:0"], ["rank-1", "cuda:1"]]
    assert rows[2] == ["reanalyzer-0", "cuda", "(chosen", "by", "auto)"]
    check_run_devices(config)
    with pytest.raises(PreflightError, match=r"--learner.num-devices: got 3, wanted at most 2: "):
        check_run_devices(changed(config, {"learner.num_devices": 3}))


@pytest.mark.parametrize(
    ("gpus", "change", "words"),
    [
        (0, {"cluster.actor_device": "cuda"}, "--cluster.actor-device: got 'cuda', but the mach"),
        (2, {"cluster.evaluator_device": "cuda:2"}, "--cluster.evaluator-device: got 'cuda:2', "),
        (3, SPLIT, "--cluster.learner-device: got 'cuda:3', but the machine has 3 CUDA devices"),
        (1, {"cluster.device": "cuda:1"}, "--cluster.device: got 'cuda:1', but the machine has 1"),
        (1, {"cluster.device": "cuda:x"}, "--cluster.device: got 'cuda:x', wanted auto, cpu, "),
    ],
)
def test_a_device_that_is_not_there_is_named(monkeypatch, gpus, change, words):
    on_gpus(monkeypatch, gpus)
    with pytest.raises(PreflightError, match=re.escape(words)):
        check_run_devices(changed(CATCH, change))


def test_devices_that_are_there_are_taken_and_workers_elsewhere_have_their_own(monkeypatch):
    on_gpus(monkeypatch, 4)
    check_run_devices(changed(CATCH, SPLIT))
    on_gpus(monkeypatch, 0)
    served = {"cluster.bind_host": "10.0.0.1", "cluster.actor_device": "cuda:7"}
    check_run_devices(changed(CATCH, served))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"learner_device": "gpu"}, "cluster.learner_device: got 'gpu', wanted auto, cpu, cuda, "),
        ({"actor_device": "cuda:0,auto"}, "cluster.actor_device: got 'cuda:0,auto', wanted auto"),
        ({"actor_device": "cuda:0,"}, "cluster.actor_device: got 'cuda:0,', wanted auto, cpu"),
        (
            {"learner_device": "cpu,cpu,cpu"},
            "cluster.learner_device: got 'cpu,cpu,cpu', wanted one or as many as "
            "learner.num_devices (2)",
        ),
        ({"learner_device": "cpu,cuda:0"}, "got 'cpu,cuda:0', wanted only CPUs or only CUDA"),
        ({"learner_device": "cuda:1,cuda:1"}, "got 'cuda:1,cuda:1', wanted cuda, or another de"),
        ({"learner_device": "cuda:1"}, "got 'cuda:1', wanted cuda, or another device for each"),
    ],
)
def test_names_that_are_no_devices_and_lists_that_do_not_fit_are_refused(change, words):
    fields = {f"cluster.{name}": value for name, value in change.items()}
    with pytest.raises(ConfigError, match=re.escape(words)):
        validate(changed(CATCH, {"learner.num_devices": 2, **fields}))


def test_lists_that_fit_are_taken():
    for name in ("cpu", "cuda", "auto", "cpu,cpu", "cuda:1,cuda:3"):
        validate(changed(CATCH, {"learner.num_devices": 2, "cluster.learner_device": name}))
    validate(changed(CATCH, {"cluster.deterministic": True, "cluster.actor_device": "cpu"}))


def test_the_launcher_starts_nothing_for_a_device_that_is_not_there(capsys, tmp_path, monkeypatch):
    on_gpus(monkeypatch, 1)
    place = ("--local", "--preset", "catch", "--runs-dir", str(tmp_path))
    assert launch.main([*place, "--cluster.reanalyzer-device", "cuda:1"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "launch.py: error: --cluster.reanalyzer-device: got 'cuda:1', but the machine has 1 CUDA "
        "device, from cuda:0 on"
    )
    assert list(tmp_path.iterdir()) == []


def test_print_config_ends_with_who_runs_where(capsys, monkeypatch):
    on_gpus(monkeypatch, 2)
    options = ("--preset", "catch", "--cluster.learner-device", "cuda:1", "--print-config")
    assert launch.main(options) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[-4:]]
    assert rows[0] == ["learner-0", "cuda:1"]
    assert [row[:2] for row in rows[1:]] == [
        [f"{r}-0", "cuda"] for r in ("reanalyzer", "actor", "evaluator")
    ]
