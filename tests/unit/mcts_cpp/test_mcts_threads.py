"""Threads change the time a search takes and nothing else."""

import os
import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from mcts_cpp import SearchParams, TreeBatch
from tests.support.cases.mcts_cases import (
    Case,
    Result,
    assert_identical,
    cases,
    leaf_buffers,
    make_batch,
    run_search,
)


@settings(max_examples=15)
@given(case=cases())
def test_any_number_of_threads_finds_the_same(case: Case) -> None:
    case = replace(case, num_trees=50, num_simulations=min(case.num_simulations, 20))
    wanted = run_search(case, make_batch(case))
    for num_threads in (2, 3):
        batch = make_batch(case, num_threads=num_threads)
        assert batch.num_threads == num_threads
        assert_identical(run_search(case, batch), wanted)


def test_tiny_batches_use_one_thread() -> None:
    assert make_batch(Case(num_trees=31), num_threads=4).num_threads == 1
    assert make_batch(Case(num_trees=32), num_threads=4).num_threads == 2


@pytest.mark.parametrize("num_threads", [0, -1, 257])
def test_numbers_of_threads_out_of_range_are_refused(num_threads: int) -> None:
    with pytest.raises(ValueError, match=f"num_threads: got {num_threads}, wanted 1 to 256"):
        TreeBatch(1, 2, 1, SearchParams(discount=0.9), np.zeros(1, np.uint64), num_threads)


@pytest.mark.parametrize("num_threads", [1, 2])
def test_two_batches_run_in_two_python_threads_at_once(num_threads: int) -> None:
    case = Case(num_trees=40, num_simulations=20)
    wanted = run_search(case)
    results: list[Result] = []

    def search() -> None:
        results.append(run_search(case, make_batch(case, num_threads=num_threads)))

    threads = [threading.Thread(target=search, name=f"search-{i}") for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(results) == 2
    for result in results:
        assert_identical(result, wanted)


def test_two_threads_on_one_batch_are_kept_apart() -> None:
    """Each call is done or refused; the trees stay whole."""
    case = Case(num_trees=3000, num_simulations=200)
    batch = make_batch(case)
    logits, values = np.zeros((3000, 6), np.float32), np.zeros(3000, np.float32)
    batch.expand_roots(logits, values)
    refusals: list[str] = []

    def hammer() -> None:
        buffers = leaf_buffers(case)
        for _ in range(200):
            try:
                batch.select_leaves(*buffers)
                batch.backup(values, values, logits)
            except ValueError as error:
                refusals.append(str(error))

    threads = [threading.Thread(target=hammer, name=f"hammer-{i}") for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    visits = np.zeros((3000, 6), np.int32)
    batch.visit_counts(visits)
    assert (visits.sum(axis=1) == batch.num_simulations_done).all()
    assert batch.num_simulations_done + len(refusals) >= 200


def test_a_forked_child_searches_without_its_parents_threads() -> None:
    case = Case(num_trees=40, num_simulations=5)
    batch = make_batch(case, num_threads=2)
    wanted = run_search(case, batch)
    batch.reset(np.zeros(40, np.uint64))
    child = os.fork()
    if child == 0:  # only the extension and numpy from here on, and no way back into pytest
        try:
            run_search(case, batch)
            del batch
            os._exit(0)
        except BaseException:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert wanted.visit_counts.sum() == 40 * 5
