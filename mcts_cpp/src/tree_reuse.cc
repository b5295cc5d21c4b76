// Root reuse: how the subtree of the played action becomes the next search's tree.
//
// Nodes keep their order, so a parent comes before its children here too. At most R nodes are kept
// below the new root, those expanded first. Dropped nodes (beyond R, or below an action that is
// illegal at the new root) are removed from the means and visits of their ancestors, so that N(s)
// is the number of nodes in the subtree of s, as in a fresh tree.

#include <algorithm>
#include <limits>

#include "mcts/puct.h"
#include "mcts/tree.h"

namespace mcts {
namespace {

constexpr std::int16_t kNotInSubtree = -1;

}  // namespace

// The path is free between searches. It holds, at `old - 1`, the new parent and action of each old
// node that is still to be visited; and, at `new`, the new parent and depth of each kept node.
// Since new < old, the second use overwrites only entries that were visited.
int Tree::Advance(const SearchConstants& constants, int num_simulations_done, int action,
                  std::span<const std::uint8_t> legal_actions, std::span<std::int32_t> old_nodes) {
  const int num_nodes = 1 + num_kept_ + num_simulations_done;
  const std::int16_t played = action < 0 ? kNoChild : Root(constants).child[action];
  std::fill(old_nodes.begin(), old_nodes.end(), -1);
  has_kept_root_ = played != kNoChild;
  num_kept_ = 0;
  if (!has_kept_root_) return 0;

  PathStep* const path = memory_.path;
  std::fill_n(path, num_nodes - 1, PathStep{kNotInSubtree, 0});
  path[played - 1] = {0, 0};
  int num_kept = 0;
  max_depth_ = 0;
  for (int old = played; old < num_nodes; ++old) {
    const PathStep step = path[old - 1];
    if (step.node == kNotInSubtree) continue;
    const bool is_root = old == played;
    const bool is_legal = is_root || step.node != 0 || legal_actions.empty() ||
                          legal_actions[static_cast<std::size_t>(step.action)] != 0;
    if (!is_legal || num_kept > constants.max_reused_nodes) {
      DropChild(constants, step, Header(constants, old));
      continue;
    }
    const int node = num_kept++;
    const int depth = is_root ? 0 : path[step.node].action + 1;
    MoveNode(constants, old, node);
    old_nodes[static_cast<std::size_t>(node)] = old;
    path[node] = {step.node, static_cast<std::int16_t>(depth)};
    max_depth_ = std::max(max_depth_, depth);
    const NodeBlock block = constants.layout.Block(memory_.blocks, static_cast<std::size_t>(node));
    for (std::size_t a = 0; a < constants.num_actions; ++a) {
      if (block.child[a] == kNoChild) continue;
      path[block.child[a] - 1] = {static_cast<std::int16_t>(node), static_cast<std::int16_t>(a)};
    }
    if (is_root) continue;
    const NodeBlock parent =
        constants.layout.Block(memory_.blocks, static_cast<std::size_t>(step.node));
    parent.child[step.action] = static_cast<std::int16_t>(node);
  }

  bounds_ = constants.initial_bounds;
  for (int node = 0; node < num_kept; ++node) RecomputeActions(constants, node);
  if (constants.algorithm == Algorithm::kGumbel) {  // when the bounds are known
    for (int node = 0; node < num_kept; ++node) {
      ChooseNextStep(constants, node,
                     constants.layout.Block(memory_.blocks, static_cast<std::size_t>(node)));
    }
  }
  num_kept_ = num_kept - 1;
  return num_kept;
}

void Tree::MoveNode(const SearchConstants& constants, int from, int to) {
  const std::size_t lines = constants.layout.lines_per_block();
  std::copy_n(memory_.blocks + static_cast<std::size_t>(from) * lines, lines,
              memory_.blocks + static_cast<std::size_t>(to) * lines);
  memory_.value_prefixes[to] = memory_.value_prefixes[from];
  memory_.phases[to] = memory_.phases[from];
}

// Takes a child's visits and returns out of its parent, a kept node, and of that one's ancestors.
void Tree::DropChild(const SearchConstants& constants, PathStep step, const NodeHeader& child) {
  const auto num_visits = static_cast<float>(child.visits);
  float return_sum = num_visits * child.reward + constants.discount * child.value_sum;
  const NodeBlock parent =
      constants.layout.Block(memory_.blocks, static_cast<std::size_t>(step.node));
  parent.child[step.action] = kNoChild;
  for (std::int16_t node = step.node;; node = memory_.path[node].node) {
    NodeHeader& header =
        *constants.layout.Block(memory_.blocks, static_cast<std::size_t>(node)).header;
    header.visits = static_cast<std::int16_t>(header.visits - child.visits);
    header.value_sum -= return_sum;
    return_sum = num_visits * header.reward + constants.discount * return_sum;
    if (node == 0) return;
  }
}

// Recomputes a node's data on its actions from its children, and widens the bounds of Q.
void Tree::RecomputeActions(const SearchConstants& constants, int node) {
  const NodeBlock block = constants.layout.Block(memory_.blocks, static_cast<std::size_t>(node));
  const bool is_gumbel = constants.algorithm == Algorithm::kGumbel;
  const bool widens_bounds = !is_gumbel || constants.gumbel.uses_range_of_tree;
  NodeHeader& header = *block.header;
  header.child_visits = 0;
  for (std::size_t action = 0; action < constants.num_actions; ++action) {
    const std::int16_t child_node = block.child[action];
    if (child_node == kNoChild) {
      const bool was_visited = block.q[action] == block.q[action];
      block.q[action] = std::numeric_limits<float>::quiet_NaN();
      if (was_visited) block.weight[action] = is_gumbel ? 0.0F : block.prior[action];
      continue;
    }
    const NodeHeader child = Header(constants, child_node);
    const auto num_visits = static_cast<float>(child.visits);
    const float q = child.reward + constants.discount * (child.value_sum / num_visits);
    block.q[action] = q;
    if (widens_bounds) bounds_.Update(q);
    block.weight[action] = is_gumbel ? num_visits : block.prior[action] / (1.0F + num_visits);
    header.child_visits = is_gumbel ? std::max(header.child_visits, child.visits)
                                    : static_cast<std::int16_t>(header.child_visits + 1);
  }
  if (!is_gumbel) {
    header.q_base = SumOfVisitedQ(constants.layout, block.q);
  } else if (widens_bounds) {
    bounds_.Update(header.q_base);
  }
}

// The root's prior is new; its visits and returns, if it was kept, are not. Its latent is new as
// well, so that sums of rewards restart below it.
void Tree::StartFromKeptNodes(const SearchConstants& constants, bool has_kept_nodes) {
  if (has_kept_nodes) {
    RecomputeActions(constants, 0);
    Root(constants).header->reward = 0.0F;
  } else {
    num_kept_ = 0;
  }
  has_kept_root_ = false;
  memory_.phases[0] = 0;
  root_visits_before_ = has_kept_nodes ? Header(constants, 0).visits : 1;
  if (constants.algorithm != Algorithm::kGumbel) return;
  std::fill_n(memory_.visits_before, constants.layout.padded_actions(), 0.0F);
  for (std::size_t action = 0; action < constants.num_actions; ++action) {
    memory_.visits_before[action] = RootVisits(constants, action);
  }
}

}  // namespace mcts
