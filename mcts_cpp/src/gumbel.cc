#include "mcts/gumbel.h"

#include <cmath>
#include <utility>

namespace mcts {
namespace {

// Sequential halving as a list: the visits that the action of simulation 0, 1, ... must have.
// All considered actions get the same number of visits, then the better half of them, and so on
// down to two.
std::vector<float> SequenceOfConsideredVisits(int num_considered, int num_simulations) {
  std::vector<float> sequence;
  num_considered = std::max(1, num_considered);  // row 0 is never read
  std::vector<int> visits(static_cast<std::size_t>(num_considered), 0);
  const int num_phases = std::max(1, static_cast<int>(std::ceil(std::log2(num_considered))));
  int num_left = num_considered;
  while (std::cmp_less(sequence.size(), num_simulations)) {
    const int num_rounds = std::max(1, num_simulations / (num_phases * num_left));
    for (int round = 0; round < num_rounds; ++round) {
      for (int action = 0; action < num_left; ++action) {
        sequence.push_back(static_cast<float>(visits[static_cast<std::size_t>(action)]++));
      }
    }
    num_left = std::max(std::min(2, num_considered), num_left / 2);
  }
  sequence.resize(static_cast<std::size_t>(num_simulations));
  return sequence;
}

}  // namespace

GumbelConstants::GumbelConstants(int num_actions, int num_simulations, const SearchParams& params)
    : maxvisit_init(static_cast<float>(params.maxvisit_init)),
      value_scale(static_cast<float>(params.value_scale)),
      normalizes_q(params.normalize_q),
      uses_range_of_tree(params.algorithm == Algorithm::kGumbel &&
                         params.gumbel_q_range == GumbelQRange::kTree),
      smallest_range(uses_range_of_tree ? static_cast<float>(params.value_delta_max) : 1e-8F),
      gumbel_scale(params.gumbel_scale),
      num_actions(num_actions),
      max_considered_actions(std::min(params.max_considered_actions, num_actions)),
      num_simulations(num_simulations) {
  if (params.algorithm != Algorithm::kGumbel) return;
  for (int num_considered = 0; num_considered <= max_considered_actions; ++num_considered) {
    const auto row = SequenceOfConsideredVisits(num_considered, num_simulations);
    considered_visits.insert(considered_visits.end(), row.begin(), row.end());
  }
}

void ImprovedPolicy(const GumbelConstants& constants, const BlockLayout& layout,
                    const NodeBlock& block, float smallest_range, std::span<float> out) {
  alignas(sizeof(FloatLanes)) float improved[kMaxActions];
  const float sum = UnscaledImprovedPolicy(constants, layout, block, smallest_range, improved);
  for (std::size_t action = 0; action < out.size(); ++action) out[action] = improved[action] / sum;
}

}  // namespace mcts
