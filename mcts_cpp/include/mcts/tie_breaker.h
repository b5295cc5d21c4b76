#pragma once

#include <cstdint>

namespace mcts {

// Random choice among equal scores: the SplitMix64 sequence of one seed, one number per tie.
//
// The k-th draw (k = 1, 2, ...) is Mix(seed + k * 0x9E3779B97F4A7C15), so it depends on the seed
// and on the number of earlier ties of the same tree, and on nothing else.
class TieBreaker {
 public:
  explicit TieBreaker(std::uint64_t seed) : state_(seed) {}

  // Returns an index in [0, num_choices), uniform up to a bias of num_choices / 2^32.
  int Draw(int num_choices) {
    state_ += 0x9E3779B97F4A7C15U;
    const std::uint64_t high_bits = Mix(state_) >> 32U;
    return static_cast<int>((high_bits * static_cast<std::uint64_t>(num_choices)) >> 32U);
  }

 private:
  static std::uint64_t Mix(std::uint64_t z) {
    z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27U)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31U);
  }

  std::uint64_t state_;
};

}  // namespace mcts
