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

constexpr float kNever = -std::numeric_limits<float>::infinity();

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

// Gumbel keeps bounds only where completed Q is divided by the range in the tree.
MinMaxStats InitialBounds(const SearchParams& params) {
  const bool is_used =
      params.algorithm == Algorithm::kPuct || params.gumbel_q_range == GumbelQRange::kTree;
  if (!is_used) return {};
  return {static_cast<float>(params.known_min_q), static_cast<float>(params.known_max_q)};
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
      normalizes_q(params.normalize_q),
      value_prefix_horizon(params.value_prefix_horizon),
      use_value_prefix(params.use_value_prefix),
      root_visit_has_value(params.root_visit_has_value),
      root_exploration_fraction(static_cast<float>(params.root_exploration_fraction)),
      root_dirichlet_alpha(params.root_dirichlet_alpha),
      algorithm(params.algorithm),
      max_reused_nodes(max_reused_nodes),
      gumbel(num_actions, num_simulations, params),
      initial_bounds(InitialBounds(params)),
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
    root.header->q_base = SignAt(0) * input.value;
  } else {
    MixRootNoise(constants, input);
  }
  memory_.value_prefixes[0] = 0.0F;
  leaf_depth_ = 0;
  if (constants.max_reused_nodes > 0) StartFromKeptNodes(constants, starts_from_kept);
  if (!starts_from_kept) {
    root.header->value_sum = constants.root_visit_has_value ? SignAt(0) * input.value : 0.0F;
    root.header->visits = 1;
    bounds_ = constants.initial_bounds;
    max_depth_ = 0;
  }
  if (constants.gumbel.uses_range_of_tree) bounds_.Update(root.header->q_base);
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

void Tree::ActionWeights(const SearchConstants& constants, std::span<float> out) const {
  const NodeBlock root = Root(constants);
  if (constants.algorithm == Algorithm::kGumbel) {
    ImprovedPolicy(constants.gumbel, constants.layout, root, SmallestRange(constants), out);
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
    return RootAction<false>(constants.gumbel, constants.layout, root, SmallestRange(constants),
                             memory_.root_scores, root.header->child_visits, nullptr);
  }
  if (constants.algorithm == Algorithm::kGumbel) {
    float most_visits = 0.0F;  // of this search
    for (std::size_t action = 0; action < constants.num_actions; ++action) {
      const float visits = RootVisits(constants, action);
      most_visits = std::max(most_visits, visits - memory_.visits_before[action]);
    }
    return RootAction<true>(constants.gumbel, constants.layout, root, SmallestRange(constants),
                            memory_.root_scores, most_visits, memory_.visits_before);
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

}  // namespace mcts
