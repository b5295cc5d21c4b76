import dataclasses
import subprocess
import sys

import pytest
import torch

from efficientzero.config import ClusterConfig, load_preset, role_device
from efficientzero.process.devices import NoSuchDevice, setup_torch, with_usable_device
from learner.training import device_of_rank

MALLOC = """
import resource, torch
from efficientzero.process.devices import keep_freed_memory
if {keep}:
    keep_freed_memory()

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for size in (1, 3, 20, 3, 20, 40):
        torch.ones(size, 1 << 18)  # MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
print(min(faults() for _ in range(3)))
"""


def faults_of_tensors_made_again(*, keep):
    """Return the pages that the kernel had to give for 87 MB of tensors made once more."""
    done = subprocess.run(
        [sys.executable, "-c", MALLOC.format(keep=keep)], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def test_memory_of_freed_tensors_is_used_again():
    assert faults_of_tensors_made_again(keep=False) > 5_000
    assert faults_of_tensors_made_again(keep=True) < 100


@pytest.mark.parametrize(
    ("fields", "role", "index", "device"),
    [
        ({}, "actor", 5, "auto"),
        ({"device": "cuda:0"}, "learner", 0, "cuda:0"),
        ({"device": "cuda:0", "learner_device": "cuda:1"}, "learner", 0, "cuda:1"),
        ({"device": "cuda:0", "learner_device": "cuda:1"}, "actor", 0, "cuda:0"),
        ({"learner_device": "cuda:1,cuda:2,cuda:3"}, "learner", 2, "cuda:3"),
        ({"actor_device": "cuda:0,cpu"}, "actor", 0, "cuda:0"),
        ({"actor_device": "cuda:0,cpu"}, "actor", 3, "cpu"),
        ({"actor_device": "cuda:0,cpu"}, "reanalyzer", 3, "auto"),
        ({"reanalyzer_device": "cuda:2"}, "reanalyzer", 9, "cuda:2"),
        ({"evaluator_device": "cpu"}, "evaluator", 0, "cpu"),
    ],
)
def test_a_processs_device_by_role_and_index(fields, role, index, device):
    assert role_device(ClusterConfig(**fields), role, index) == device


def test_ranks_keep_the_devices_that_are_named_for_them(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    config = load_preset("catch")
    learner = dataclasses.replace(config.learner, num_devices=3)
    named = ClusterConfig(device="cuda:0", learner_device="cuda:1,cuda:2,cuda:3")
    for cluster, wanted in ((named, [1, 2, 3]), (ClusterConfig(device="cuda"), [0, 1, 2])):
        chosen.clear()
        run = dataclasses.replace(config, learner=learner, cluster=cluster)
        found = [device_of_rank(setup_torch(cluster, "learner", k), k, run) for k in range(3)]
        assert found == [torch.device("cuda", number) for number in wanted]
        assert chosen == found  # what a process makes without a device is on its own one
    assert setup_torch(named, "actor", 5) == torch.device("cuda:0")


def test_a_device_that_torch_does_not_find_ends_the_process_for_good():
    with pytest.raises(
        NoSuchDevice, match="device of actor-1: got cuda:7, but torch finds no CUDA"
    ):
        setup_torch(ClusterConfig(actor_device="cpu,cuda:7"), "actor", 1)
    assert NoSuchDevice.is_permanent
    assert setup_torch(ClusterConfig(actor_device="cpu,cuda:7"), "actor", 0).type == "cpu"


def test_a_finished_run_is_read_on_a_device_that_is_here():
    moved = with_usable_device(ClusterConfig(device="cpu", evaluator_device="cuda:7"), "evaluator")
    assert role_device(moved, "evaluator", 0) == "auto"
    kept = ClusterConfig(learner_device="cuda:7")
    assert with_usable_device(kept, "evaluator") is kept
