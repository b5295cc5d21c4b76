import subprocess
import sys

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
