#pragma once

#include <algorithm>
#include <limits>

namespace mcts {

// normalised Q = (Q - offset) * scale, clipped to [lowest, highest].
struct QScale {
  // Leaves every Q unchanged.
  static QScale Raw() {
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    return {.lowest = -kInfinity, .highest = kInfinity};
  }

  float offset = 0.0F;
  float scale = 1.0F;
  float lowest = 0.0F;
  float highest = 1.0F;
};

// Running bounds of the Q values seen in one tree; they only ever widen.
//
// Deviation from the original EfficientZero: after each simulation it recomputes the bounds over
// the whole tree, so that they narrow again when a Q moves inwards, and subtracts the wrong node's
// value prefix on the way. Here every Q enters when it is computed, with the reward that was fixed
// when its node was expanded. SearchParams::recomputed_bounds and stale_prefix_bounds bring the
// original back, the first without its fault.
class MinMaxStats {
 public:
  MinMaxStats() = default;
  // Bounds known beforehand, or +infinity and -infinity.
  MinMaxStats(float min, float max) : min_(min), max_(max) {}

  void Update(float q) {
    min_ = std::min(min_, q);
    max_ = std::max(max_, q);
  }

  // (Q - min) / max(max - min, value_delta_max), or Q while there are no two different Qs; clipped
  // to [0, 1]. The division is one reciprocal for the whole descent.
  QScale Scale(float value_delta_max) const {
    if (!(max_ > min_)) return {};
    return {.offset = min_, .scale = 1.0F / std::max(max_ - min_, value_delta_max)};
  }

  float min() const { return min_; }
  float max() const { return max_; }

 private:
  float min_ = std::numeric_limits<float>::infinity();
  float max_ = -std::numeric_limits<float>::infinity();
};

}  // namespace mcts
