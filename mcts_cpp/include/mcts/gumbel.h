#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "mcts/lanes.h"
#include "mcts/node_block.h"
#include "mcts/search_params.h"

// The choice of actions in Gumbel MuZero ("Policy improvement by planning with Gumbel", Danihelka
// et al., 2022), eight actions at a time. A node's `weight` holds N(s, a), +infinity for actions
// that must never be chosen.
//
// The improved policy softmax(logits + completed Q) is computed as prior * exp(completed Q),
// rescaled to sum to 1, so that a node stores priors and no logits.

namespace mcts {

// The coefficients in the precision the search computes in.
struct GumbelConstants {
  GumbelConstants(int num_actions, int num_simulations, const SearchParams& params);

  // The visits that the root's next action must have, among n considered actions.
  float ConsideredVisits(int num_considered, int simulation) const {
    return considered_visits[static_cast<std::size_t>(num_considered * num_simulations +
                                                      simulation)];
  }

  float maxvisit_init;
  float value_scale;
  bool normalizes_q;
  bool uses_range_of_tree;
  // The smallest range of completed Q that it is divided by.
  float smallest_range;
  double gumbel_scale;
  int num_actions;
  int max_considered_actions;
  int num_simulations;
  std::vector<float> considered_visits;  // [max_considered_actions + 1, num_simulations]
};

inline int NumVisited(const BlockLayout& layout, const float* q) {
  IntLanes minus_num_visited = Broadcast(0);
  for (std::size_t first = 0; first < layout.padded_actions(); first += kLanes) {
    const FloatLanes known = LoadLanes(q + first);
    minus_num_visited += known == known;
  }
  return -SumOfLanes(minus_num_visited);
}

// Completed Q of a node's actions, shifted so that the smallest is 0, and scaled.
//
// The Q of actions without a visit is the network's value of the node, mixed with the mean of
// visited Qs weighted by their priors; one pass gives it and the range of Q.
struct CompletedQ {
  // smallest_range: see Tree::SmallestRange. It may exceed the range at the node.
  CompletedQ(const GumbelConstants& constants, const BlockLayout& layout, const NodeBlock& block,
             float smallest_range) {
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    FloatLanes prior_sum = Broadcast(0.0F);
    FloatLanes weighted_q_sum = Broadcast(0.0F);
    FloatLanes low = Broadcast(kInfinity);
    FloatLanes high = Broadcast(-kInfinity);
    std::size_t first = 0;
    do {
      const FloatLanes q = LoadLanes(block.q + first);
      const FloatLanes prior =
          Max(LoadLanes(block.prior + first), Broadcast(std::numeric_limits<float>::min()));
      const IntLanes is_visited = q == q;
      prior_sum += is_visited ? prior : Broadcast(0.0F);
      weighted_q_sum += is_visited ? prior * q : Broadcast(0.0F);
      low = Min(q, low);  // the second where the first is NaN
      high = Max(q, high);
      first += kLanes;
    } while (first < layout.padded_actions());

    auto [minus_lowest, largest] = MaximaOfLanes(-low, high);
    lowest = -minus_lowest;
    const int num_visits = block.header->visits - 1;
    const bool all_are_visited =
        num_visits >= constants.num_actions && NumVisited(layout, block.q) == constants.num_actions;
    if (all_are_visited) {
      unvisited = lowest;  // of padding only, where it must be within the range
    } else {
      unvisited = block.header->q_base;
      if (num_visits > 0) {
        const auto [q_sum, sum] = SumsOfLanes(weighted_q_sum, prior_sum);
        const float mean_q = q_sum / sum;
        const auto weight = static_cast<float>(num_visits);
        unvisited = (unvisited + weight * mean_q) / (weight + 1.0F);
      }
      lowest = std::min(lowest, unvisited);
      largest = std::max(largest, unvisited);
    }

    const float span = largest - lowest;
    const float max_visits = block.header->child_visits;
    scale = (constants.maxvisit_init + max_visits) * constants.value_scale;
    if (constants.normalizes_q) scale /= std::max(span, smallest_range);
    highest = span * scale;
  }

  FloatLanes operator()(const float* q) const {
    const FloatLanes known = LoadLanes(q);
    return ((known == known ? known : Broadcast(unvisited)) - lowest) * scale;
  }

  float unvisited;
  float lowest;
  float scale;
  float highest;  // the largest result
};

// Writes prior * exp(completed Q) / exp(largest completed Q), [Ap], and returns its sum.
inline float UnscaledImprovedPolicy(const GumbelConstants& constants, const BlockLayout& layout,
                                    const NodeBlock& block, float smallest_range, float* out) {
  const CompletedQ completed_q(constants, layout, block, smallest_range);
  FloatLanes sums = Broadcast(0.0F);
  std::size_t first = 0;
  do {
    const FloatLanes exps = ExpOfNonPositive(completed_q(block.q + first) - completed_q.highest);
    const FloatLanes improved = LoadLanes(block.prior + first) * exps;
    sums += improved;
    StoreLanes(improved, out + first);
    first += kLanes;
  } while (first < layout.padded_actions());
  return SumOfLanes(sums);
}

// The first position of the highest score; `scores(first)` gives eight of them.
template <typename Scores>
int FirstHighest(const Scores& scores, std::size_t padded_actions) {
  const IntLanes lane_positions = {0, 1, 2, 3, 4, 5, 6, 7};
  FloatLanes best = scores(0);
  IntLanes position = lane_positions;
  for (std::size_t first = kLanes; first < padded_actions; first += kLanes) {
    const FloatLanes challengers = scores(first);
    position = challengers > best ? lane_positions + static_cast<std::int32_t>(first) : position;
    best = Max(challengers, best);
  }
  const IntLanes candidates =
      best == MaxOfLanes(best) ? position : Broadcast(std::numeric_limits<std::int32_t>::max());
  return MinOfLanes(candidates);
}

// Below the root: the action whose share of the visits lags furthest behind the improved policy.
inline int InteriorAction(const GumbelConstants& constants, const BlockLayout& layout,
                          const NodeBlock& block, float smallest_range) {
  if (block.header->visits == 1) {  // all Qs and visits are alike, so the prior decides
    return FirstHighest([&](std::size_t first) { return LoadLanes(block.prior + first); },
                        layout.padded_actions());
  }
  alignas(sizeof(FloatLanes)) float improved[kMaxActions];
  const float sum = UnscaledImprovedPolicy(constants, layout, block, smallest_range, improved);
  // All times the sum, which saves a division; the bound keeps padding's 0 * infinity away.
  const float per_visit = std::max(sum * (1.0F / static_cast<float>(block.header->visits)),
                                   std::numeric_limits<float>::min());
  const auto lag = [&](std::size_t first) {
    return LoadLanes(improved + first) - LoadLanes(block.weight + first) * per_visit;
  };
  return FirstHighest(lag, layout.padded_actions());
}

// At the root: among the actions with so many visits, the one with the highest sum of Gumbel
// variable, logit and completed Q.
//   root_scores    [Ap] Gumbel variable + logit - largest logit
//   visits_before  [Ap] visits that do not count, being of the search before; read if kReusesNodes
template <bool kReusesNodes>
int RootAction(const GumbelConstants& constants, const BlockLayout& layout, const NodeBlock& root,
               float smallest_range, const float* root_scores, float considered_visits,
               const float* visits_before) {
  constexpr float kLowest = -1e9F;  // however unlikely, a considered action may be chosen
  constexpr float kNever = -std::numeric_limits<float>::infinity();
  const CompletedQ completed_q(constants, layout, root, smallest_range);
  const auto score = [&](std::size_t first) {
    const FloatLanes scores = LoadLanes(root_scores + first) + completed_q(root.q + first);
    FloatLanes visits = LoadLanes(root.weight + first);
    if constexpr (kReusesNodes) visits -= LoadLanes(visits_before + first);
    return visits == considered_visits ? Max(scores, Broadcast(kLowest)) : Broadcast(kNever);
  };
  return FirstHighest(score, layout.padded_actions());
}

// Writes the improved policy of a node, [A]: the target for the network's policy.
void ImprovedPolicy(const GumbelConstants& constants, const BlockLayout& layout,
                    const NodeBlock& block, float smallest_range, std::span<float> out);

// Turns the prior in `weight` (-infinity: illegal or padding) into N(s, a) = 0.
inline void StartCountingVisits(const BlockLayout& layout, const NodeBlock& block) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (std::size_t first = 0; first < layout.padded_actions(); first += kLanes) {
    const FloatLanes weights = LoadLanes(block.weight + first);
    StoreLanes(weights > -kInfinity ? Broadcast(0.0F) : Broadcast(kInfinity), block.weight + first);
  }
}

}  // namespace mcts
