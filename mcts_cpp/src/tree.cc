#include "mcts/tree.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "mcts/lanes.h"
#include "mcts/softmax.h"

namespace mcts {
namespace {

constexpr float kNotVisited = std::numeric_limits<float>::quiet_NaN();

// Fills all of a fresh block but its prior and weight.
void ClearBlock(const BlockLayout& layout, const NodeBlock& block, float reward) {
  std::fill_n(block.q, layout.padded_actions(), kNotVisited);
  std::fill_n(block.child, layout.padded_actions(), kNoChild);
  *block.header = NodeHeader{.reward = reward};
}

float SumOfVisitedQ(const BlockLayout& layout, const float* q) {
  FloatLanes sum = Broadcast(0.0F);
  for (std::size_t first = 0; first < layout.padded_actions(); first += kLanes) {
    const FloatLanes lanes = LoadLanes(q + first);
    sum += lanes == lanes ? lanes : Broadcast(0.0F);  // NaN: not visited
  }
  return SumOfLanes(sum);
}

// The Q given to unvisited children: the mean over visited ones, below the root with the parent's
// mean on the same descent as one more sample. At a root without visited children there is nothing
// to average and all Qs are equal: 0.
float MeanQ(const NodeHeader& header, bool is_root, float parent_mean_q) {
  const float num_visited = header.num_visited_children;
  if (!is_root) return (parent_mean_q + header.child_q_sum) / (1.0F + num_visited);
  return header.num_visited_children == 0 ? 0.0F : header.child_q_sum / num_visited;
}

// Scores of eight actions: P(s, a) * c(N(s)) * sqrt(N(s)) / (1 + N(s, a)) + normalised Q.
struct Scorer {
  const float* weight;
  const float* q;
  float exploration;
  float mean_q;
  QScale q_scale;

  FloatLanes operator()(std::size_t first) const {
    const FloatLanes known = LoadLanes(q + first);
    const FloatLanes q_or_mean = known == known ? known : Broadcast(mean_q);
    const FloatLanes normalised = (q_or_mean - q_scale.offset) * q_scale.scale;
    const FloatLanes clipped = Min(Max(normalised, Broadcast(0.0F)), Broadcast(1.0F));
    return LoadLanes(weight + first) * exploration + clipped;
  }
};

// The position of the n-th action (n = 0, 1, ...) in action order whose score is `best`.
int NthActionWithScore(const Scorer& scorer, float best, int n) {
  for (std::size_t first = 0;; first += kLanes) {
    const FloatLanes scores = scorer(first);
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      if (scores[lane] == best && n-- == 0) return static_cast<int>(first + lane);
    }
  }
}

std::vector<float> ExplorationTable(int num_simulations, const SearchParams& params) {
  std::vector<float> table;
  for (int visits = 0; visits < num_simulations + 2; ++visits) {
    const double c =
        std::log((visits + params.pb_c_base + 1.0) / params.pb_c_base) + params.pb_c_init;
    table.push_back(static_cast<float>(c * std::sqrt(static_cast<double>(visits))));
  }
  return table;
}

}  // namespace

SearchConstants::SearchConstants(int num_actions, int num_simulations, const SearchParams& params)
    : layout(num_actions),
      num_actions(static_cast<std::size_t>(num_actions)),
      discount(static_cast<float>(params.discount)),
      value_delta_max(static_cast<float>(params.value_delta_max)),
      value_prefix_horizon(params.value_prefix_horizon),
      use_value_prefix(params.use_value_prefix),
      root_exploration_fraction(static_cast<float>(params.root_exploration_fraction)),
      exploration(ExplorationTable(num_simulations, params)) {}

void Tree::ExpandRoot(const SearchConstants& constants, std::span<const float> policy_logits,
                      float value, std::span<const float> noise,
                      std::span<const std::uint8_t> legal_actions) {
  const NodeBlock root = Root(constants);
  ClearBlock(constants.layout, root, 0.0F);
  Softmax(policy_logits, legal_actions, {root.prior, constants.layout.padded_actions()},
          {root.weight, constants.layout.padded_actions()});
  if (!noise.empty()) {
    MixNoise(noise, legal_actions, constants.root_exploration_fraction,
             {root.prior, constants.num_actions}, {root.weight, constants.num_actions});
  }
  // Deviation from the original EfficientZero: its root starts with a visit that adds no value,
  // which pulls every root value towards 0 by num_simulations / (num_simulations + 1).
  root.header->value_sum = value;
  root.header->visits = 1;
  memory_.value_prefixes[0] = 0.0F;
  bounds_ = MinMaxStats();
  leaf_depth_ = 0;
  max_depth_ = 0;
}

Leaf Tree::Select(const SearchConstants& constants) {
  const QScale q_scale = bounds_.Scale(constants.value_delta_max);
  std::int16_t node = 0;
  float mean_q = 0.0F;
  for (int depth = 0;; ++depth) {
    const NodeBlock block = constants.layout.Block(memory_.blocks, static_cast<std::size_t>(node));
    mean_q = MeanQ(*block.header, depth == 0, mean_q);
    const int action = BestAction(constants, block, mean_q, q_scale);
    memory_.path[depth] = {node, static_cast<std::int16_t>(action)};
    const std::int16_t child = block.child[action];
    if (child == kNoChild) {
      leaf_depth_ = depth + 1;
      return {node, action, leaf_depth_ % constants.value_prefix_horizon == 0};
    }
    node = child;
  }
}

// One pass keeps, per lane, the best score, its first position and how often it occurred. The rare
// ties are resolved in a second pass.
//
// Deviation from the original EfficientZero: N(s) counts the node's own expansion, as in MuZero's
// pseudocode, so the prior decides from the first descent. There the first child is random.
int Tree::BestAction(const SearchConstants& constants, const NodeBlock& block, float mean_q,
                     QScale q_scale) {
  const auto visits = static_cast<std::size_t>(block.header->visits);
  const Scorer scorer{block.weight, block.q, constants.exploration[visits], mean_q, q_scale};
  constexpr std::int32_t kOne = 1 << 16;  // upper half: occurrences, lower half: position
  const IntLanes lane_positions = {0, 1, 2, 3, 4, 5, 6, 7};
  FloatLanes best = scorer(0);
  IntLanes occurrences = lane_positions + kOne;
  for (std::size_t first = kLanes; first < constants.layout.padded_actions(); first += kLanes) {
    const FloatLanes scores = scorer(first);
    const IntLanes fresh = lane_positions + (kOne + static_cast<std::int32_t>(first));
    const IntLanes again = scores == best ? occurrences + kOne : occurrences;
    occurrences = scores > best ? fresh : again;
    best = Max(scores, best);
  }
  const float highest = MaxOfLanes(best);
  const std::int32_t winners = SumOfLanes(best == highest ? occurrences : Broadcast(0));
  const int num_winners = winners / kOne;
  if (num_winners == 1) return winners % kOne;
  return NthActionWithScore(scorer, highest, ties_.Draw(num_winners));
}

void Tree::Backup(const SearchConstants& constants, int node, float value_prefix, float value,
                  std::span<const float> policy_logits) {
  const BlockLayout& layout = constants.layout;
  const PathStep last = memory_.path[leaf_depth_ - 1];
  const bool parent_is_reset = (leaf_depth_ - 1) % constants.value_prefix_horizon == 0;
  const bool is_difference = constants.use_value_prefix && !parent_is_reset;
  const float reward =
      is_difference ? value_prefix - memory_.value_prefixes[last.node] : value_prefix;

  memory_.value_prefixes[node] = value_prefix;
  NodeBlock block = layout.Block(memory_.blocks, static_cast<std::size_t>(node));
  ClearBlock(layout, block, reward);
  Softmax(policy_logits, {}, {block.prior, layout.padded_actions()},
          {block.weight, layout.padded_actions()});
  const NodeBlock leaf_parent = layout.Block(memory_.blocks, static_cast<std::size_t>(last.node));
  leaf_parent.child[last.action] = static_cast<std::int16_t>(node);
  ++leaf_parent.header->num_visited_children;

  float discounted_return = value;
  for (int depth = leaf_depth_; depth > 0; --depth) {
    NodeHeader& header = *block.header;
    header.value_sum += discounted_return;
    ++header.visits;
    const float num_visits = header.visits;
    const float q = header.reward + constants.discount * (header.value_sum / num_visits);
    bounds_.Update(q);
    discounted_return = header.reward + constants.discount * discounted_return;

    const PathStep step = memory_.path[depth - 1];
    block = layout.Block(memory_.blocks, static_cast<std::size_t>(step.node));
    block.q[step.action] = q;
    block.weight[step.action] = block.prior[step.action] / (1.0F + num_visits);
    block.header->child_q_sum = SumOfVisitedQ(layout, block.q);
  }
  block.header->value_sum += discounted_return;
  ++block.header->visits;
  max_depth_ = std::max(max_depth_, leaf_depth_);
}

}  // namespace mcts
