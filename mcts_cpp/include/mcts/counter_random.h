#pragma once

#include <cstdint>

namespace mcts {

// Counter-based random numbers: the SplitMix64 sequence of one seed.
//
// The k-th draw (k = 1, 2, ...) is Mix(seed + k * 0x9E3779B97F4A7C15), so it depends on the seed
// and on the number of earlier draws from the same object, and on nothing else. A tree owns two:
// one for ties, one for root noise, so that neither disturbs the other.
class CounterRandom {
 public:
  explicit CounterRandom(std::uint64_t seed) : state_(seed) {}

  // The sequence of root noise that belongs to a tree's seed.
  static CounterRandom ForNoise(std::uint64_t seed) {
    return CounterRandom(Mix(seed ^ 0xD1B54A32D192ED03U));
  }

  std::uint64_t Next() {
    state_ += 0x9E3779B97F4A7C15U;
    return Mix(state_);
  }

  // An index in [0, num_choices), uniform up to a bias of num_choices / 2^32.
  int Below(int num_choices) {
    const std::uint64_t high_bits = Next() >> 32U;
    return static_cast<int>((high_bits * static_cast<std::uint64_t>(num_choices)) >> 32U);
  }

  // Uniform in (0, 1): the middles of 2^52 equal intervals, so that its logarithm is finite and
  // not 0.
  double Uniform() { return (static_cast<double>(Next() >> 12U) + 0.5) * 0x1p-52; }

 private:
  static std::uint64_t Mix(std::uint64_t z) {
    z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27U)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31U);
  }

  std::uint64_t state_;
};

}  // namespace mcts
