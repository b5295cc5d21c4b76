// One simulation of a tree: descent, expansion, backup; and the choice among their variants.

#include <algorithm>

#include "mcts/puct.h"
#include "mcts/softmax.h"
#include "mcts/tree.h"

namespace mcts {

template <bool kReusesNodes>
int Tree::GumbelRootAction(const SearchConstants& constants) const {
  const NodeBlock root = Root(constants);
  const int visits_before = kReusesNodes ? root_visits_before_ : 1;
  const int simulation = root.header->visits - visits_before;
  const float considered_visits = constants.gumbel.ConsideredVisits(num_considered_, simulation);
  return RootAction<kReusesNodes>(constants.gumbel, constants.layout, root,
                                  SmallestRange(constants), memory_.root_scores, considered_visits,
                                  memory_.visits_before);
}

void Tree::ChooseNextStep(const SearchConstants& constants, int node, const NodeBlock& block) {
  const int action =
      InteriorAction(constants.gumbel, constants.layout, block, SmallestRange(constants));
  memory_.next_steps[node] = {block.child[action], static_cast<std::int16_t>(action)};
}

template <Tree::Rules kRules>
Leaf Tree::SelectBy(const SearchConstants& constants) {
  constexpr bool kIsGumbel = kRules.algorithm == Algorithm::kGumbel;
  const QScale q_scale =
      constants.normalizes_q ? bounds_.Scale(constants.value_delta_max) : QScale::Raw();
  std::int16_t node = 0;
  float unvisited_q = 0.0F;
  for (int depth = 0;; ++depth) {
    NextStep next;
    if (kIsGumbel && depth > 0) {
      next = memory_.next_steps[node];
    } else {
      const NodeBlock block =
          constants.layout.Block(memory_.blocks, static_cast<std::size_t>(node));
      int action = 0;
      if constexpr (kIsGumbel) {
        action = GumbelRootAction<kRules.reuses_nodes>(constants);
      } else {
        const auto visits = static_cast<std::size_t>(block.header->visits);
        unvisited_q = QOfUnvisited<kRules.unvisited_q>(
            *block.header, depth == 0, constants.player_sign * unvisited_q, q_scale);
        const PuctScorer<kRules.exploration_counts_expansion> scorer{
            block.weight, block.q, constants.exploration[visits], unvisited_q, q_scale};
        action = HighestScore(scorer, constants.layout.padded_actions(), ties_);
      }
      next = {block.child[action], static_cast<std::int16_t>(action)};
    }
    memory_.path[depth] = {node, next.action};
    if (next.child == kNoChild) {
      leaf_depth_ = depth + 1;
      const int steps = kRules.reuses_nodes ? memory_.phases[node] + 1 : leaf_depth_;
      return {node, next.action, steps % constants.value_prefix_horizon == 0};
    }
    node = next.child;
  }
}

template <bool kReusesNodes>
NodeBlock Tree::ExpandLeaf(const SearchConstants& constants, int node, const Answer& answer) {
  const BlockLayout& layout = constants.layout;
  const PathStep last = memory_.path[leaf_depth_ - 1];
  const int parent_phase = kReusesNodes ? memory_.phases[last.node] : leaf_depth_ - 1;
  const bool parent_is_reset = parent_phase % constants.value_prefix_horizon == 0;
  if constexpr (kReusesNodes) {
    memory_.phases[node] =
        static_cast<std::int16_t>((parent_phase + 1) % constants.value_prefix_horizon);
  }
  const bool is_difference = constants.use_value_prefix && !parent_is_reset;
  const float reward =
      is_difference ? answer.value_prefix - memory_.value_prefixes[last.node] : answer.value_prefix;

  memory_.value_prefixes[node] = answer.value_prefix;
  const NodeBlock block = layout.Block(memory_.blocks, static_cast<std::size_t>(node));
  ClearBlock(layout, block, SignAt(leaf_depth_ - 1) * reward);
  Softmax(answer.policy_logits, {}, {block.prior, layout.padded_actions()},
          {block.weight, layout.padded_actions()});
  const NodeBlock parent = layout.Block(memory_.blocks, static_cast<std::size_t>(last.node));
  parent.child[last.action] = static_cast<std::int16_t>(node);
  if (constants.algorithm == Algorithm::kPuct) {
    ++parent.header->child_visits;
  } else {
    StartCountingVisits(layout, block);
    block.header->q_base = SignAt(leaf_depth_) * answer.value;
  }
  return block;
}

// Updates the parent's view of a child; its own visits are not counted yet, so they are the sum of
// its children's.
template <Tree::Rules kRules>
void Tree::RecordVisit(const SearchConstants& constants, PathStep step, const NodeBlock& block,
                       float q, std::int16_t child_visits) {
  NodeHeader& header = *block.header;
  const float num_visits = child_visits;
  const auto action = static_cast<std::size_t>(step.action);
  StoreLane(q, block.q, action);
  if constexpr (kRules.algorithm == Algorithm::kGumbel) {
    StoreLane(num_visits, block.weight, action);
    header.child_visits = std::max(header.child_visits, child_visits);
  } else {
    block.weight[step.action] = block.prior[step.action] / (1.0F + num_visits);
    if constexpr (kRules.unvisited_q == UnvisitedQ::kMeanQ) {
      header.q_base = SumOfVisitedQ(constants.layout, block.q);
    }
  }
}

template <Tree::Rules kRules>
void Tree::BackupBy(const SearchConstants& constants, int simulation, const Answer& answer) {
  constexpr bool kIsGumbel = kRules.algorithm == Algorithm::kGumbel;
  constexpr bool kWidensBounds = kRules.bounds == BoundsRule::kWidened;
  const BlockLayout& layout = constants.layout;
  const int node = kRules.reuses_nodes ? num_kept_ + simulation : simulation;
  int block_node = node;
  NodeBlock block = ExpandLeaf<kRules.reuses_nodes>(constants, node, answer);
  if constexpr (kIsGumbel && kWidensBounds) bounds_.Update(block.header->q_base);
  float discounted_return = SignAt(leaf_depth_) * answer.value;
  for (int depth = leaf_depth_; depth > 0; --depth) {
    NodeHeader& header = *block.header;
    header.value_sum += discounted_return;
    ++header.visits;
    if constexpr (kIsGumbel) ChooseNextStep(constants, block_node, block);
    const float num_visits = header.visits;
    const float q = header.reward + constants.discount * (header.value_sum / num_visits);
    if constexpr (kWidensBounds) bounds_.Update(q);
    discounted_return = header.reward + constants.discount * discounted_return;

    const PathStep step = memory_.path[depth - 1];
    const std::int16_t child_visits = header.visits;
    block = layout.Block(memory_.blocks, static_cast<std::size_t>(step.node));
    block_node = step.node;
    RecordVisit<kRules>(constants, step, block, q, child_visits);
  }
  block.header->value_sum += discounted_return;
  ++block.header->visits;
  max_depth_ = std::max(max_depth_, leaf_depth_);
  if constexpr (kRules.bounds == BoundsRule::kRecomputed) RecomputeBounds(constants, node + 1);
  if constexpr (kRules.bounds == BoundsRule::kStalePrefixes) {
    RecomputeBoundsWithStalePrefixes(constants);
  }
}

// Every visited child's current Q is in its parent's block.
void Tree::RecomputeBounds(const SearchConstants& constants, int num_nodes) {
  FloatLanes lowest = Broadcast(constants.initial_bounds.min());
  FloatLanes highest = Broadcast(constants.initial_bounds.max());
  for (int node = 0; node < num_nodes; ++node) {
    const float* const q = constants.layout.Block(memory_.blocks, static_cast<std::size_t>(node)).q;
    for (std::size_t first = 0; first < constants.layout.padded_actions(); first += kLanes) {
      const FloatLanes lanes = LoadLanes(q + first);
      lowest = Min(lanes, lowest);  // NaN, not visited: the second argument
      highest = Max(lanes, highest);
    }
  }
  bounds_ = MinMaxStats(MinOfLanes(lowest), MaxOfLanes(highest));
}

// The path is free between a backup and the next descent and serves as stack of (node, depth).
void Tree::RecomputeBoundsWithStalePrefixes(const SearchConstants& constants) {
  bounds_ = constants.initial_bounds;
  PathStep* const stack = memory_.path;
  std::size_t size = 0;
  stack[size++] = {0, 0};
  float prefix_met_before = 0.0F;
  bool reset_met_before = false;
  while (size > 0) {
    const auto [node, depth] = stack[--size];
    const NodeBlock block = constants.layout.Block(memory_.blocks, static_cast<std::size_t>(node));
    const NodeHeader& header = *block.header;
    const float prefix = memory_.value_prefixes[node];
    if (node != 0) {
      const bool is_difference = constants.use_value_prefix && !reset_met_before;
      const float reward = is_difference                ? prefix - prefix_met_before
                           : constants.use_value_prefix ? prefix
                                                        : header.reward;
      const float value = header.value_sum / static_cast<float>(header.visits);
      bounds_.Update(reward + constants.discount * value);
    }
    for (std::size_t action = 0; action < constants.num_actions; ++action) {
      const std::int16_t child = block.child[action];
      if (child != kNoChild) stack[size++] = {child, static_cast<std::int16_t>(depth + 1)};
    }
    prefix_met_before = prefix;
    reset_met_before = depth % constants.value_prefix_horizon == 0;
  }
}

template <Tree::Rules kRules>
TreeOperations Tree::OperationsOf() {
  return {&Tree::SelectBy<kRules>, &Tree::BackupBy<kRules>};
}

// All combinations of one policy. How bounds follow the tree matters only where Q is normalised.
template <UnvisitedQ kUnvisitedQ, Tree::BoundsRule kBounds>
TreeOperations Tree::PuctOperations(const SearchParams& params, bool reuses_nodes) {
  if constexpr (kBounds != BoundsRule::kStalePrefixes) {  // refused by TreeBatch
    if (reuses_nodes) {
      return params.exploration_counts_expansion
                 ? OperationsOf<Rules{Algorithm::kPuct, kUnvisitedQ, true, kBounds, true}>()
                 : OperationsOf<Rules{Algorithm::kPuct, kUnvisitedQ, false, kBounds, true}>();
    }
  }
  return params.exploration_counts_expansion
             ? OperationsOf<Rules{Algorithm::kPuct, kUnvisitedQ, true, kBounds, false}>()
             : OperationsOf<Rules{Algorithm::kPuct, kUnvisitedQ, false, kBounds, false}>();
}

template <UnvisitedQ kUnvisitedQ>
TreeOperations Tree::PuctOperations(const SearchParams& params, bool reuses_nodes) {
  if (params.stale_prefix_bounds) {
    return PuctOperations<kUnvisitedQ, BoundsRule::kStalePrefixes>(params, reuses_nodes);
  }
  return params.recomputed_bounds
             ? PuctOperations<kUnvisitedQ, BoundsRule::kRecomputed>(params, reuses_nodes)
             : PuctOperations<kUnvisitedQ, BoundsRule::kWidened>(params, reuses_nodes);
}

template <Tree::BoundsRule kBounds>
TreeOperations Tree::GumbelOperations(bool reuses_nodes) {
  constexpr UnvisitedQ kUnused = UnvisitedQ::kMeanQ;
  return reuses_nodes ? OperationsOf<Rules{Algorithm::kGumbel, kUnused, true, kBounds, true}>()
                      : OperationsOf<Rules{Algorithm::kGumbel, kUnused, true, kBounds, false}>();
}

TreeOperations Tree::OperationsFor(const SearchParams& params, bool reuses_nodes) {
  if (params.algorithm == Algorithm::kGumbel) {
    return params.gumbel_q_range == GumbelQRange::kTree
               ? GumbelOperations<BoundsRule::kWidened>(reuses_nodes)
               : GumbelOperations<BoundsRule::kUnused>(reuses_nodes);
  }
  switch (params.unvisited_q) {
    case UnvisitedQ::kMeanQ:
      break;
    case UnvisitedQ::kParentValue:
      return PuctOperations<UnvisitedQ::kParentValue>(params, reuses_nodes);
    case UnvisitedQ::kZero:
      return PuctOperations<UnvisitedQ::kZero>(params, reuses_nodes);
  }
  return PuctOperations<UnvisitedQ::kMeanQ>(params, reuses_nodes);
}

}  // namespace mcts
