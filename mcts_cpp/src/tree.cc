#include "mcts/tree.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "mcts/puct.h"
#include "mcts/root_noise.h"
#include "mcts/softmax.h"

namespace mcts {
namespace {

constexpr float kNotVisited = std::numeric_limits<float>::quiet_NaN();
constexpr float kNever = -std::numeric_limits<float>::infinity();

// Fills all of a fresh block but its prior and weight.
void ClearBlock(const BlockLayout& layout, const NodeBlock& block, float reward) {
  std::fill_n(block.q, layout.padded_actions(), kNotVisited);
  std::fill_n(block.child, layout.padded_actions(), kNoChild);
  *block.header = NodeHeader{.reward = reward};
}

std::vector<float> ExplorationTable(int most_nodes, const SearchParams& params) {
  std::vector<float> table;
  for (int visits = 0; visits <= most_nodes; ++visits) {
    const int total = params.exploration_counts_expansion ? visits : std::max(visits - 1, 0);
    const double c =
        std::log((total + params.pb_c_base + 1.0) / params.pb_c_base) + params.pb_c_init;
    table.push_back(static_cast<float>(c * std::sqrt(static_cast<double>(total))));
  }
  return table;
}

}  // namespace

SearchConstants::SearchConstants(int num_actions, int num_simulations, const SearchParams& params,
                                 int max_reused_nodes)
    : layout(num_actions),
      num_actions(static_cast<std::size_t>(num_actions)),
      operations(Tree::OperationsFor(params, max_reused_nodes > 0)),
      discount(static_cast<float>(params.num_players == 2 ? -params.discount : params.discount)),
      player_sign(params.num_players == 2 ? -1.0F : 1.0F),
      value_delta_max(static_cast<float>(params.value_delta_max)),
      value_prefix_horizon(params.value_prefix_horizon),
      use_value_prefix(params.use_value_prefix),
      root_visit_has_value(params.root_visit_has_value),
      root_exploration_fraction(static_cast<float>(params.root_exploration_fraction)),
      root_dirichlet_alpha(params.root_dirichlet_alpha),
      algorithm(params.algorithm),
      max_reused_nodes(max_reused_nodes),
      gumbel(num_actions, num_simulations, params),
      initial_bounds(static_cast<float>(params.known_min_q),
                     static_cast<float>(params.known_max_q)),
      exploration(ExplorationTable(num_simulations + max_reused_nodes + 1, params)) {}

void Tree::ExpandRoot(const SearchConstants& constants, const RootInput& input) {
  const std::size_t padded_actions = constants.layout.padded_actions();
  const NodeBlock root = Root(constants);
  const bool starts_from_kept = input.reuses_nodes && has_kept_root_;
  if (!starts_from_kept) ClearBlock(constants.layout, root, 0.0F);
  Softmax(input.policy_logits, input.legal_actions, {root.prior, padded_actions},
          {root.weight, padded_actions});
  view_ = input.view;
  if (constants.algorithm == Algorithm::kGumbel) {
    ScoreRootActions(constants, input);
    StartCountingVisits(constants.layout, root);
    memory_.network_values[0] = SignAt(0) * input.value;
    root.header->child_q = memory_.network_values[0];
  } else {
    MixRootNoise(constants, input);
  }
  memory_.value_prefixes[0] = 0.0F;
  leaf_depth_ = 0;
  if (constants.max_reused_nodes > 0) StartFromKeptNodes(constants, starts_from_kept);
  if (starts_from_kept) return;
  root.header->value_sum = constants.root_visit_has_value ? SignAt(0) * input.value : 0.0F;
  root.header->visits = 1;
  bounds_ = constants.initial_bounds;
  max_depth_ = 0;
}

void Tree::MixRootNoise(const SearchConstants& constants, const RootInput& input) {
  const NodeBlock root = Root(constants);
  std::array<float, kMaxActions> drawn;
  std::span<const float> noise = input.noise;
  if (input.draws_noise) {
    noise = std::span(drawn).first(constants.num_actions);
    DrawDirichlet(noise_, constants.root_dirichlet_alpha, input.legal_actions,
                  std::span(drawn).first(constants.num_actions));
  }
  if (noise.empty()) return;
  MixNoise(noise, input.legal_actions, constants.root_exploration_fraction,
           {root.prior, constants.num_actions}, {root.weight, constants.num_actions});
}

// `weight` still holds -infinity for illegal actions and padding.
void Tree::ScoreRootActions(const SearchConstants& constants, const RootInput& input) {
  const float* const weight = Root(constants).weight;
  float* const scores = memory_.root_scores;
  const std::span<float> actions(scores, constants.num_actions);
  if (input.draws_noise) {
    DrawGumbel(noise_, constants.gumbel.gumbel_scale, actions);
  } else if (!input.noise.empty()) {
    std::copy(input.noise.begin(), input.noise.end(), scores);
  } else {
    std::fill(actions.begin(), actions.end(), 0.0F);
  }
  std::fill(scores + constants.num_actions, scores + constants.layout.padded_actions(), kNever);
  float largest = kNever;
  int num_legal = 0;
  for (std::size_t action = 0; action < constants.num_actions; ++action) {
    if (weight[action] == kNever) continue;
    largest = std::max(largest, input.policy_logits[action]);
    ++num_legal;
  }
  for (std::size_t action = 0; action < constants.num_actions; ++action) {
    const bool is_legal = weight[action] != kNever;
    scores[action] = is_legal ? scores[action] + (input.policy_logits[action] - largest) : kNever;
  }
  num_considered_ = std::min(constants.gumbel.max_considered_actions, num_legal);
}

float Tree::SignAt(int depth) const {
  if (view_ == View::kMover) return 1.0F;
  const bool player0_moves = (depth % 2 == 0) == (view_ == View::kPlayer0Begins);
  return player0_moves ? 1.0F : -1.0F;
}

template <bool kReusesNodes>
int Tree::GumbelAction(const SearchConstants& constants, const NodeBlock& block,
                       bool is_root) const {
  if (!is_root) return InteriorAction(constants.gumbel, constants.layout, block);
  const int visits_before = kReusesNodes ? root_visits_before_ : 1;
  const int simulation = block.header->visits - visits_before;
  const float considered_visits = constants.gumbel.ConsideredVisits(num_considered_, simulation);
  return RootAction<kReusesNodes>(constants.gumbel, constants.layout, block, memory_.root_scores,
                                  considered_visits, memory_.visits_before);
}

template <Tree::Rules kRules>
Leaf Tree::SelectBy(const SearchConstants& constants) {
  const QScale q_scale = bounds_.Scale(constants.value_delta_max);
  std::int16_t node = 0;
  float unvisited_q = 0.0F;
  for (int depth = 0;; ++depth) {
    const NodeBlock block = constants.layout.Block(memory_.blocks, static_cast<std::size_t>(node));
    int action = 0;
    if constexpr (kRules.algorithm == Algorithm::kGumbel) {
      action = GumbelAction<kRules.reuses_nodes>(constants, block, depth == 0);
    } else {
      const auto visits = static_cast<std::size_t>(block.header->visits);
      unvisited_q = QOfUnvisited<kRules.unvisited_q>(*block.header, depth == 0,
                                                     constants.player_sign * unvisited_q);
      const PuctScorer<kRules.exploration_counts_expansion> scorer{
          block.weight, block.q, constants.exploration[visits], unvisited_q, q_scale};
      action = HighestScore(scorer, constants.layout.padded_actions(), ties_);
    }
    memory_.path[depth] = {node, static_cast<std::int16_t>(action)};
    const std::int16_t child = block.child[action];
    if (child == kNoChild) {
      leaf_depth_ = depth + 1;
      const int steps = kRules.reuses_nodes ? memory_.phases[node] + 1 : leaf_depth_;
      return {node, action, steps % constants.value_prefix_horizon == 0};
    }
    node = child;
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
    memory_.network_values[node] = SignAt(leaf_depth_) * answer.value;
    block.header->child_q = memory_.network_values[node];
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
  block.q[step.action] = q;
  if constexpr (kRules.algorithm == Algorithm::kGumbel) {
    block.weight[step.action] = num_visits;
    header.child_visits = std::max(header.child_visits, child_visits);
    header.child_q = QOfUnvisitedByMixing(constants.layout, block, constants.num_actions,
                                          memory_.network_values[step.node], header.visits, q);
  } else {
    block.weight[step.action] = block.prior[step.action] / (1.0F + num_visits);
    if constexpr (kRules.unvisited_q == UnvisitedQ::kMeanQ) {
      header.child_q = SumOfVisitedQ(constants.layout, block.q);
    }
  }
}

template <Tree::Rules kRules>
void Tree::BackupBy(const SearchConstants& constants, int simulation, const Answer& answer) {
  constexpr bool kUsesBounds = kRules.algorithm == Algorithm::kPuct && !kRules.stale_prefix_bounds;
  const BlockLayout& layout = constants.layout;
  const int node = kRules.reuses_nodes ? num_kept_ + simulation : simulation;
  NodeBlock block = ExpandLeaf<kRules.reuses_nodes>(constants, node, answer);
  float discounted_return = SignAt(leaf_depth_) * answer.value;
  for (int depth = leaf_depth_; depth > 0; --depth) {
    NodeHeader& header = *block.header;
    header.value_sum += discounted_return;
    ++header.visits;
    const float num_visits = header.visits;
    const float q = header.reward + constants.discount * (header.value_sum / num_visits);
    if constexpr (kUsesBounds) bounds_.Update(q);
    discounted_return = header.reward + constants.discount * discounted_return;

    const PathStep step = memory_.path[depth - 1];
    const std::int16_t child_visits = header.visits;
    block = layout.Block(memory_.blocks, static_cast<std::size_t>(step.node));
    RecordVisit<kRules>(constants, step, block, q, child_visits);
  }
  block.header->value_sum += discounted_return;
  ++block.header->visits;
  max_depth_ = std::max(max_depth_, leaf_depth_);
  if constexpr (kRules.stale_prefix_bounds) RecomputeBoundsWithStalePrefixes(constants);
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

void Tree::ActionWeights(const SearchConstants& constants, std::span<float> out) const {
  const NodeBlock root = Root(constants);
  if (constants.algorithm == Algorithm::kGumbel) {
    ImprovedPolicy(constants.gumbel, constants.layout, root, out);
    return;
  }
  const float num_simulations = static_cast<float>(root.header->visits - 1);
  for (std::size_t action = 0; action < out.size(); ++action) {
    out[action] = static_cast<float>(RootVisits(constants, action)) / num_simulations;
  }
}

int Tree::BestAction(const SearchConstants& constants) const {
  const NodeBlock root = Root(constants);
  if (constants.algorithm == Algorithm::kGumbel && constants.max_reused_nodes == 0) {
    return RootAction<false>(constants.gumbel, constants.layout, root, memory_.root_scores,
                             root.header->child_visits, nullptr);
  }
  if (constants.algorithm == Algorithm::kGumbel) {
    float most_visits = 0.0F;  // of this search
    for (std::size_t action = 0; action < constants.num_actions; ++action) {
      const float visits = RootVisits(constants, action);
      most_visits = std::max(most_visits, visits - memory_.visits_before[action]);
    }
    return RootAction<true>(constants.gumbel, constants.layout, root, memory_.root_scores,
                            most_visits, memory_.visits_before);
  }
  std::size_t best = 0;
  for (std::size_t action = 1; action < constants.num_actions; ++action) {
    if (RootVisits(constants, action) > RootVisits(constants, best)) best = action;
  }
  return static_cast<int>(best);
}

std::vector<NodeView> Tree::Nodes(const SearchConstants& constants,
                                  int num_simulations_done) const {
  std::vector<NodeView> nodes(static_cast<std::size_t>(num_simulations_done + num_kept_) + 1);
  nodes[0].prior = 1.0F;
  for (std::size_t index = 0; index < nodes.size(); ++index) {
    const NodeBlock block = constants.layout.Block(memory_.blocks, index);
    NodeView& node = nodes[index];
    node.index = static_cast<int>(index);
    node.visits = block.header->visits;
    node.value = block.header->value_sum / static_cast<float>(block.header->visits);
    node.reward = block.header->reward;
    node.priors.assign(block.prior, block.prior + constants.num_actions);
    // A child is expanded after its parent, so it comes later.
    for (std::size_t action = 0; action < constants.num_actions; ++action) {
      if (block.child[action] == kNoChild) continue;
      NodeView& child = nodes[static_cast<std::size_t>(block.child[action])];
      child.parent = node.index;
      child.action = static_cast<int>(action);
      child.depth = node.depth + 1;
      child.prior = block.prior[action];
      child.q = block.q[action];
    }
  }
  return nodes;
}

template <Tree::Rules kRules>
TreeOperations Tree::OperationsOf() {
  return {&Tree::SelectBy<kRules>, &Tree::BackupBy<kRules>};
}

// All combinations of one policy.
template <UnvisitedQ kUnvisitedQ>
TreeOperations Tree::PuctOperations(const SearchParams& params, bool reuses_nodes) {
  if (reuses_nodes) {  // without stale bounds
    return params.exploration_counts_expansion
               ? OperationsOf<Rules{Algorithm::kPuct, kUnvisitedQ, true, false, true}>()
               : OperationsOf<Rules{Algorithm::kPuct, kUnvisitedQ, false, false, true}>();
  }
  if (params.exploration_counts_expansion) {
    return params.stale_prefix_bounds
               ? OperationsOf<Rules{Algorithm::kPuct, kUnvisitedQ, true, true, false}>()
               : OperationsOf<Rules{Algorithm::kPuct, kUnvisitedQ, true, false, false}>();
  }
  return params.stale_prefix_bounds
             ? OperationsOf<Rules{Algorithm::kPuct, kUnvisitedQ, false, true, false}>()
             : OperationsOf<Rules{Algorithm::kPuct, kUnvisitedQ, false, false, false}>();
}

TreeOperations Tree::OperationsFor(const SearchParams& params, bool reuses_nodes) {
  if (params.algorithm == Algorithm::kGumbel) {
    return reuses_nodes
               ? OperationsOf<Rules{Algorithm::kGumbel, UnvisitedQ::kMeanQ, true, false, true}>()
               : OperationsOf<Rules{Algorithm::kGumbel, UnvisitedQ::kMeanQ, true, false, false}>();
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
