#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "mcts/min_max_stats.h"
#include "mcts/node_block.h"
#include "mcts/search_params.h"
#include "mcts/tie_breaker.h"

namespace mcts {

// What all trees of a batch share, in the precision the search computes in.
struct SearchConstants {
  SearchConstants(int num_actions, int num_simulations, const SearchParams& params);

  BlockLayout layout;
  std::size_t num_actions;
  float discount;
  float value_delta_max;
  int value_prefix_horizon;
  bool use_value_prefix;
  float root_exploration_fraction;
  // [num_simulations + 2] by N(s): (ln((N + pb_c_base + 1) / pb_c_base) + pb_c_init) * sqrt(N),
  // computed in double, rounded once.
  std::vector<float> exploration;
};

// One step of a descent.
struct PathStep {
  std::int16_t node = 0;
  std::int16_t action = 0;
};

// Where a tree's nodes live; owned by the batch.
struct TreeMemory {
  CacheLine* blocks = nullptr;      // [num_simulations + 1, lines_per_block]
  float* value_prefixes = nullptr;  // [num_simulations + 1] as the network gave them; root: 0
  PathStep* path = nullptr;         // [num_simulations] the latest descent
};

// The leaf a descent ended at: an action without a child.
struct Leaf {
  int parent_node = 0;
  int action = 0;
  bool resets_prefix = false;  // the new node's depth is a multiple of value_prefix_horizon
};

// One search tree. Node 0 is the root, simulation i = 1, 2, ... expands node i.
//
// Calls come as ExpandRoot, then (Select, Backup) repeated; the caller guarantees the order and
// checks the numbers. Owns no memory, not thread-safe.
class Tree {
 public:
  Tree(TreeMemory memory, std::uint64_t seed) : memory_(memory), ties_(seed) {}

  // Starts a new search. Continues the tree's random sequence.
  //   policy_logits [A]
  //   value         the network's value of the root; it counts as the root's first visit
  //   noise         [A], not negative, mixed into the prior of legal actions; empty: none
  //   legal_actions [A], 0 = illegal; empty: all are legal
  void ExpandRoot(const SearchConstants& constants, std::span<const float> policy_logits,
                  float value, std::span<const float> noise,
                  std::span<const std::uint8_t> legal_actions);

  // Descends by the highest score until it leaves the tree.
  Leaf Select(const SearchConstants& constants);

  // Expands the selected leaf as node `node` and updates its ancestors.
  //   policy_logits [A] at the new node
  void Backup(const SearchConstants& constants, int node, float value_prefix, float value,
              std::span<const float> policy_logits);

  NodeBlock Root(const SearchConstants& constants) const {
    return constants.layout.Block(memory_.blocks, 0);
  }
  NodeHeader Header(const SearchConstants& constants, int node) const {
    return *constants.layout.Block(memory_.blocks, static_cast<std::size_t>(node)).header;
  }
  const MinMaxStats& bounds() const { return bounds_; }
  int max_depth() const { return max_depth_; }

 private:
  int BestAction(const SearchConstants& constants, const NodeBlock& block, float mean_q,
                 QScale q_scale);

  TreeMemory memory_;
  TieBreaker ties_;
  MinMaxStats bounds_;
  int leaf_depth_ = 0;  // steps in memory_.path
  int max_depth_ = 0;   // depth of the deepest expanded node; the root's is 0
};

}  // namespace mcts
