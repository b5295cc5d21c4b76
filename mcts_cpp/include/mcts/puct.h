#pragma once

#include <cstddef>
#include <cstdint>

#include "mcts/counter_random.h"
#include "mcts/lanes.h"
#include "mcts/min_max_stats.h"
#include "mcts/node_block.h"
#include "mcts/search_params.h"

// The choice of an action by MuZero's pUCT, eight actions at a time.

namespace mcts {

inline float SumOfVisitedQ(const BlockLayout& layout, const float* q) {
  FloatLanes sum = Broadcast(0.0F);
  for (std::size_t first = 0; first < layout.padded_actions(); first += kLanes) {
    const FloatLanes lanes = LoadLanes(q + first);
    sum += lanes == lanes ? lanes : Broadcast(0.0F);  // NaN: not visited
  }
  return SumOfLanes(sum);
}

// The Q given to unvisited children, before it is normalised by `q_scale`. `mean_at_parent` is this
// function's result one step above on the same descent, seen by the player who moves here; at the
// root it is 0.
template <UnvisitedQ kPolicy>
float QOfUnvisited(const NodeHeader& header, bool is_root, float mean_at_parent,
                   const QScale& q_scale) {
  // MuZero's pseudocode adds no Q to the score of an unvisited child: (offset - offset) * scale is
  // exactly 0, and within the limits of the clipping.
  if constexpr (kPolicy == UnvisitedQ::kZero) return q_scale.offset;
  if constexpr (kPolicy == UnvisitedQ::kParentValue) {
    return header.value_sum / static_cast<float>(header.visits);
  }
  // The mean over visited children, below the root with the parent's mean as one more sample. At a
  // root without visited children there is nothing to average and all Qs are equal: 0.
  const float num_visited = header.child_visits;
  if (!is_root) return (mean_at_parent + header.q_base) / (1.0F + num_visited);
  return header.child_visits == 0 ? 0.0F : header.q_base / num_visited;
}

// Scores of eight actions: P(s, a) * c(N(s)) * sqrt(N(s)) / (1 + N(s, a)) + normalised Q.
// kExplorationIsPositive: the second factor is never 0, so that the -infinity of illegal actions
// needs no care.
template <bool kExplorationIsPositive>
struct PuctScorer {
  const float* weight;
  const float* q;
  float exploration;
  float unvisited_q;
  QScale q_scale;

  FloatLanes operator()(std::size_t first) const {
    const FloatLanes known = LoadLanes(q + first);
    const FloatLanes filled = known == known ? known : Broadcast(unvisited_q);
    const FloatLanes normalised = (filled - q_scale.offset) * q_scale.scale;
    const FloatLanes clipped =
        Min(Max(normalised, Broadcast(q_scale.lowest)), Broadcast(q_scale.highest));
    const FloatLanes weights = LoadLanes(weight + first);
    const FloatLanes scores = weights * exploration + clipped;
    if constexpr (kExplorationIsPositive) return scores;
    return weights >= 0.0F ? scores : weights;
  }
};

// The position of the n-th action (n = 0, 1, ...) in action order whose score is `best`.
template <typename Scorer>
int NthActionWithScore(const Scorer& scorer, float best, int n) {
  for (std::size_t first = 0;; first += kLanes) {
    const FloatLanes scores = scorer(first);
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      if (scores[lane] == best && n-- == 0) return static_cast<int>(first + lane);
    }
  }
}

// The action with the highest score. One pass keeps, per lane, the best score, its first position
// and how often it occurred. The rare ties are resolved at random in a second pass.
template <typename Scorer>
int HighestScore(const Scorer& scorer, std::size_t padded_actions, CounterRandom& ties) {
  constexpr std::int32_t kOne = 1 << 16;  // upper half: occurrences, lower half: position
  const IntLanes lane_positions = {0, 1, 2, 3, 4, 5, 6, 7};
  FloatLanes best = scorer(0);
  IntLanes occurrences = lane_positions + kOne;
  for (std::size_t first = kLanes; first < padded_actions; first += kLanes) {
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
  return NthActionWithScore(scorer, highest, ties.Below(num_winners));
}

}  // namespace mcts
