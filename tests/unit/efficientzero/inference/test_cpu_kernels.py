"""The CPU's kernels against torch in double precision; kernels_test.cc has more shapes."""

import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

from efficientzero.inference.cpu import _kernels, kernels
from efficientzero.inference.cpu.folded_layers import FoldedSupport
from efficientzero.networks import ScalarSupport
from efficientzero.networks.blocks import LstmCell


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("relu", [True, False])
def test_convolution_is_torchs_in_any_layout(layout, relu):
    images = draw(3, 16, 8, 5).contiguous(memory_format=layout)
    weight, bias, added = draw(32, 16, 3, 3), draw(32), draw(3, 32, 8, 5)
    got = kernels.convolve_3x3(
        images, kernels.transformed_weights(weight), bias, added=added, relu=relu
    )
    wanted = F.conv2d(images.double(), weight.double(), bias.double(), padding=1) + added
    wanted = F.relu(wanted) if relu else wanted
    assert got.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(got.double(), wanted, rtol=0, atol=2e-5 * float(wanted.abs().max()))


@pytest.mark.parametrize("batch", [1, 5, 20])
def test_lstm_step_is_the_cells(batch):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        cell = LstmCell(9, 48)
    inputs, states = 3 * draw(batch, 9), draw(batch, 2, 48)
    weights = kernels.packed_gates(cell.weight.detach())
    bias = kernels.packed_gates((cell.bias_input + cell.bias_hidden).detach())
    got = kernels.step_lstm(inputs, states, weights, bias)
    wanted = cell.double()(inputs.double(), states.double())
    torch.testing.assert_close(got.double(), wanted, rtol=0, atol=1e-6)


def test_rows_do_not_depend_on_each_other():
    images, weights = draw(9, 16, 7, 7), kernels.transformed_weights(draw(16, 16, 3, 3))
    together = kernels.convolve_3x3(images, weights, draw(16), relu=False)
    alone = kernels.convolve_3x3(images[4:5], weights, draw(16), relu=False)
    assert torch.equal(together[4:5], alone)
    inputs, states = draw(9, 8), draw(9, 2, 16)
    packed = kernels.packed_gates(draw(64, 24)), kernels.packed_gates(draw(64))
    together = kernels.step_lstm(inputs, states, *packed)
    assert torch.equal(together[4:5], kernels.step_lstm(inputs[4:5], states[4:5], *packed))


def test_wrong_shapes_and_types_are_refused():
    images, weights, bias = draw(1, 16, 4, 4), draw(64, 16, 16), draw(16)
    with pytest.raises(ValueError, match=r"weights: got .*\[64, 32, 16\], wanted .*\[64, 16, 16\]"):
        kernels.convolve_3x3(images, draw(64, 32, 16), bias, relu=False)
    with pytest.raises(ValueError, match=r"images: got torch.float64"):
        kernels.convolve_3x3(images.double(), weights, bias, relu=False)
    with pytest.raises(ValueError, match=r"added: got .*\[1, 16, 4, 5\]"):
        kernels.convolve_3x3(images, weights, bias, added=draw(1, 16, 4, 5), relu=False)
    with pytest.raises(ValueError, match=r"channels: got 8 in, 16 out, wanted a multiple of 16"):
        kernels.convolve_3x3(draw(1, 8, 4, 4), draw(64, 8, 16), bias, relu=False)
    packed = kernels.packed_gates(draw(64, 24)), kernels.packed_gates(draw(64))
    with pytest.raises(ValueError, match=r"weights: got .*\[1, 24, 4, 16\], wanted .*\[1, 25"):
        kernels.step_lstm(draw(2, 9), draw(2, 2, 16), *packed)
    with pytest.raises(ValueError, match=r"states: got .*\[3, 2, 16\], wanted .*\[2, 2, 16\]"):
        kernels.step_lstm(draw(2, 8), draw(3, 2, 16), *packed)


def test_operands_in_a_pool_are_read_there_and_answers_written_where_asked():
    weights, bias = kernels.transformed_weights(draw(32, 16, 3, 3)), draw(32)
    pool, nodes = draw(4, 3, 16, 5, 5), torch.tensor([3, 0, 3], dtype=torch.int32)
    wanted = kernels.convolve_3x3(pool[nodes, torch.arange(3)], weights, bias, relu=True)
    out = torch.empty(3, 32, 5, 5, memory_format=torch.channels_last)
    got = kernels.convolve_3x3(pool, weights, bias, relu=True, nodes=nodes, out=out)
    assert got is out
    assert torch.equal(out, wanted)
    packed = kernels.packed_gates(draw(64, 24)), kernels.packed_gates(draw(64))
    inputs, states = draw(3, 8), draw(4, 3, 2, 16)
    keeps = torch.ones((4, 3), dtype=torch.int32)
    keeps[3, 2] = 0
    picked = states[nodes, torch.arange(3)] * torch.tensor([1.0, 1.0, 0.0])[:, None, None]
    out = torch.empty(3, 2, 16)
    kernels.step_lstm(inputs, states, *packed, nodes=nodes, keeps=keeps, out=out)
    assert torch.equal(out, kernels.step_lstm(inputs, picked, *packed))


@pytest.mark.parametrize("node", [-1, 4, 2**31 - 1])
def test_nodes_outside_of_a_pool_are_refused(node):
    weights, nodes = draw(64, 16, 16), torch.tensor([0, node, 1], dtype=torch.int32)
    line = f"nodes: got {node} for row 1, wanted at least 0 and less than 4"
    with pytest.raises(ValueError, match=line):
        kernels.convolve_3x3(draw(4, 3, 16, 2, 2), weights, draw(16), relu=True, nodes=nodes)
    packed = kernels.packed_gates(draw(64, 24)), kernels.packed_gates(draw(64))
    with pytest.raises(ValueError, match=line):
        kernels.step_lstm(draw(3, 8), draw(4, 3, 2, 16), *packed, nodes=nodes)


def test_nodes_and_places_of_a_wrong_kind_are_refused():
    weights, nodes = draw(64, 16, 16), torch.tensor([0, 1])
    operands = draw(4, 2, 16, 2, 3), weights, draw(16)
    with pytest.raises(ValueError, match=r"nodes: got torch.int64 \[2\], wanted torch.int32 \[2\]"):
        kernels.convolve_3x3(*operands, relu=True, nodes=nodes)
    with pytest.raises(ValueError, match=r"outputs: got strides .*, wanted rows without gaps"):
        kernels.convolve_3x3(*operands, relu=True, nodes=nodes.int(), out=torch.empty(2, 16, 2, 3))


def test_many_threads_are_left_to_torch():
    is_quick = _kernels.INSTRUCTION_SET != "portable"
    threads = torch.get_num_threads()
    try:
        for num_threads, pays in ((1, is_quick), (4, False)):
            torch.set_num_threads(num_threads)
            assert kernels.convolution_pays(64, 32) == pays
            assert kernels.lstm_pays(512) == pays
            assert not kernels.convolution_pays(64, 12)
            assert not kernels.lstm_pays(12)
    finally:
        torch.set_num_threads(threads)


def test_the_environment_limits_the_instruction_set():
    program = "from efficientzero.inference.cpu import _kernels; print(_kernels.INSTRUCTION_SET)"
    environment = {**os.environ, "EFFICIENTZERO_KERNELS": "portable"}
    command = [sys.executable, "-c", program]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "portable"


@pytest.mark.parametrize("bound", [1, 5, 300])
def test_decoding_is_the_supports(bound):
    support = ScalarSupport(bound)
    logits = 4 * draw(2, 7, support.num_bins)
    got = FoldedSupport().decode(logits)
    wanted = support.decode(logits.double())
    assert got.shape == (2, 7)
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)


def test_an_unknown_instruction_set_is_refused():
    environment = {**os.environ, "EFFICIENTZERO_KERNELS": "avx-2"}
    command = [sys.executable, "-c", "import efficientzero.inference.cpu.kernels"]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode != 0
    assert "got 'avx-2', wanted one of avx512, avx2, portable" in answer.stderr
