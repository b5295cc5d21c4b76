#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "mcts/lanes.h"

// The memory of expanded nodes. A node is one contiguous block; A is padded to whole groups of
// eight (Ap), so that the score loop has no remainder:
//
//   weight f32[Ap] | q f32[Ap] | prior f32[Ap] | NodeHeader | child i16[Ap] | padding to 64 bytes
//   '--- read at each visit --'
//
// With up to 8 actions a block is 128 bytes: the score loop reads its first cache line, everything
// else is in its second. A tree is num_simulations + 1 blocks, a batch is one allocation.

namespace mcts {

inline constexpr int kMaxActions = 1024;
inline constexpr std::int16_t kNoChild = -1;

// N(s) = visits counts the node's own expansion, V(s) = value_sum / visits.
struct NodeHeader {
  float value_sum = 0.0F;         // discounted returns that passed through here
  float reward = 0.0F;            // r of the step into this node, fixed at expansion
  float q_base = 0.0F;            // PUCT: sum of q over visited children; Gumbel: network's value
  std::int16_t visits = 0;        // at most num_simulations + 1
  std::int16_t child_visits = 0;  // PUCT: number of visited children; Gumbel: most visits of one
};

// Pointers into one block.
struct NodeBlock {
  // [Ap] PUCT: prior / (1 + N(s, a)), -infinity: never to be selected; Gumbel: N(s, a), +infinity.
  float* weight = nullptr;
  float* q = nullptr;             // [Ap] r(s, a) + discount * V(child); NaN: not visited
  float* prior = nullptr;         // [Ap] P(s, a); 0 for padding and illegal actions
  NodeHeader* header = nullptr;   //
  std::int16_t* child = nullptr;  // [Ap] node index, or kNoChild
};

struct alignas(64) CacheLine {
  std::byte bytes[64];
};

// Finds the blocks of nodes; says how many cache lines a block takes.
class BlockLayout {
 public:
  explicit BlockLayout(int num_actions)
      : padded_actions_((static_cast<std::size_t>(num_actions) + kLanes - 1) / kLanes * kLanes) {
    const std::size_t bytes =
        padded_actions_ * (3 * sizeof(float) + sizeof(std::int16_t)) + sizeof(NodeHeader);
    lines_per_block_ = (bytes + sizeof(CacheLine) - 1) / sizeof(CacheLine);
  }

  NodeBlock Block(CacheLine* tree, std::size_t node) const {
    std::byte* const start = tree[node * lines_per_block_].bytes;
    float* const floats = reinterpret_cast<float*>(start);
    std::byte* const header = start + 3 * padded_actions_ * sizeof(float);
    return {floats, floats + padded_actions_, floats + 2 * padded_actions_,
            reinterpret_cast<NodeHeader*>(header),
            reinterpret_cast<std::int16_t*>(header + sizeof(NodeHeader))};
  }

  std::size_t padded_actions() const { return padded_actions_; }
  std::size_t lines_per_block() const { return lines_per_block_; }

 private:
  std::size_t padded_actions_;
  std::size_t lines_per_block_ = 0;
};

// Fills all of a fresh block but its prior and weight.
inline void ClearBlock(const BlockLayout& layout, const NodeBlock& block, float reward) {
  std::fill_n(block.q, layout.padded_actions(), std::numeric_limits<float>::quiet_NaN());
  std::fill_n(block.child, layout.padded_actions(), kNoChild);
  *block.header = NodeHeader{.reward = reward};
}

}  // namespace mcts
