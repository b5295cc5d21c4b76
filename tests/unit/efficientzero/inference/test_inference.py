"""The two ways to store a simulation's nodes; CUDA graphs use one, all else the other."""

import torch

from efficientzero.inference.node_pools import NUM_INDEX_ROWS, Rows
from efficientzero.inference.steps import IndexedStep, SlabStep
from tests.unit.efficientzero.inference.test_folded_network import SMALL_IMAGE, build


def test_a_step_that_reads_its_place_from_the_indices_stores_what_the_other_stores():
    network, batch, num_nodes = build(SMALL_IMAGE), 3, 4
    rows = Rows(network.latent_shape)
    generator = torch.Generator().manual_seed(0)
    channels, height, width = network.latent_shape
    latents = torch.rand((num_nodes, batch, height, width, channels), generator=generator)
    states = torch.rand((num_nodes, batch, 2, network.lstm_hidden_size), generator=generator)
    indices = torch.tensor([[0, 1, 0], [2, 0, 1], [1, 0, 1], [2, 2, 2]], dtype=torch.int32)
    assert len(indices) == NUM_INDEX_ROWS
    stored = []
    with torch.inference_mode():
        for kind in (SlabStep, IndexedStep):
            step = kind(network, rows, batch, "float32")
            pools = latents.clone(), states.clone()
            flat = [pool.flatten(0, 1) for pool in pools]
            slabs = [pool[2] for pool in pools] if kind is SlabStep else []
            stored.append((step(*flat, indices, *slabs), *pools))
    for slab, indexed in zip(*stored, strict=True):
        assert torch.equal(slab, indexed)
    _, new_latents, new_states = stored[0]
    assert torch.equal(new_latents[[0, 1, 3]], latents[[0, 1, 3]])
    assert not torch.equal(new_latents[2], latents[2])
    assert not new_states[2, 1].any(), "the second tree's LSTM restarts"
    assert new_states[2, 0].any()
