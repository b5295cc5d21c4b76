"""Torch's CPU tensors in place of numpy arrays: the same search in the same memory, no copies."""

import numpy as np
import pytest
import torch
from torch import Tensor

from mcts_cpp import SearchParams, TreeBatch

SEEDS = np.arange(3, dtype=np.uint64)


def make_batch() -> TreeBatch:
    return TreeBatch(3, 5, 8, SearchParams(discount=0.9), SEEDS)


def search(batch: TreeBatch, *, as_tensors: bool) -> list[np.ndarray]:
    """Search with numbers of one generator, handed over as tensors or as arrays."""
    generator = torch.Generator().manual_seed(0)

    def hand_over(tensor: Tensor) -> Tensor | np.ndarray:
        return tensor if as_tensors else tensor.numpy()

    def numbers(*shape: int) -> Tensor | np.ndarray:
        return hand_over(torch.randn(*shape, generator=generator))

    legal = torch.ones(3, 5, dtype=torch.bool)
    legal[:, 2] = False
    outputs = [torch.zeros(3, dtype=kind) for kind in (torch.int32, torch.int32, torch.bool)]
    visits, values = torch.zeros(3, 5, dtype=torch.int32), torch.zeros(3)
    batch.expand_roots(numbers(3, 5), numbers(3), legal_actions=hand_over(legal))
    for _ in range(8):
        batch.select_leaves(*[hand_over(output) for output in outputs])
        batch.backup(numbers(3), numbers(3), numbers(3, 5))
    batch.visit_counts(hand_over(visits))
    batch.root_values(hand_over(values))
    return [tensor.numpy() for tensor in (*outputs, visits, values)]


def test_tensors_give_the_same_search_as_arrays() -> None:
    for got, wanted in zip(
        search(make_batch(), as_tensors=True), search(make_batch(), as_tensors=False), strict=True
    ):
        np.testing.assert_array_equal(got, wanted)


def test_a_slice_of_a_pool_is_written_in_place() -> None:
    batch = make_batch()
    batch.expand_roots(torch.zeros(3, 5), torch.ones(3))
    pool = torch.zeros(4, 3)
    batch.root_values(pool[2])
    assert pool.sum(dim=1).tolist() == [0, 0, 3, 0]


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.zeros(3, 5, dtype=torch.float64), r"policy_logits: got float64 \[3, 5\], wanted"),
        (torch.zeros(3, 5, dtype=torch.bfloat16), "policy_logits: got bfloat16"),
        (torch.zeros(3, 5, dtype=torch.complex64), "policy_logits: got complex64"),
        (torch.zeros(15), r"policy_logits: got float32 \[15\], wanted float32 \[3, 5\]"),
        (torch.zeros(5, 3).T, "policy_logits: got a strided"),
        (torch.full((3, 5), torch.nan), "policy_logits: got nan at flat index 0"),
    ],
)
def test_bad_tensors_are_refused(tensor: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_batch().expand_roots(tensor, torch.zeros(3))


def test_memory_outside_the_cpu_is_refused() -> None:
    class OnAGpu:
        def __dlpack__(self) -> object:
            raise AssertionError("nobody may ask for it")

        def __dlpack_device__(self) -> tuple[int, int]:
            return (2, 0)

    with pytest.raises(ValueError, match="values: got DLPack device type 2, wanted memory of the"):
        make_batch().expand_roots(torch.zeros(3, 5), OnAGpu())


def test_a_tensor_that_lies_about_its_capsule_is_refused() -> None:
    class Liar:
        def __dlpack__(self) -> object:
            return 7

        def __dlpack_device__(self) -> tuple[int, int]:
            return (1, 0)

    with pytest.raises(ValueError, match="PyCapsule"):
        make_batch().expand_roots(torch.zeros(3, 5), Liar())


def test_a_tensor_with_gradient_is_refused_by_torch() -> None:
    with pytest.raises((BufferError, RuntimeError), match="gradient"):
        make_batch().expand_roots(torch.zeros(3, 5, requires_grad=True), torch.zeros(3))
