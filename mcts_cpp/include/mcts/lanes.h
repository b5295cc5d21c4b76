#pragma once

// Eight floats at a time, in portable vector types of GCC and Clang.
//
// All arithmetic here has one defined order, independent of the machine's vector width: results are
// the same bits with SSE, AVX or NEON, and a float32 program in another language can repeat them.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

namespace mcts {

inline constexpr int kLanes = 8;

using FloatLanes = float __attribute__((vector_size(32)));
using IntLanes = std::int32_t __attribute__((vector_size(32)));

inline FloatLanes LoadLanes(const float* from) {
  FloatLanes lanes;
  std::memcpy(&lanes, from, sizeof(lanes));
  return lanes;
}

inline void StoreLanes(FloatLanes lanes, float* to) { std::memcpy(to, &lanes, sizeof(lanes)); }

inline FloatLanes Broadcast(float x) { return FloatLanes{x, x, x, x, x, x, x, x}; }
inline IntLanes Broadcast(std::int32_t x) { return IntLanes{x, x, x, x, x, x, x, x}; }

inline FloatLanes Max(FloatLanes a, FloatLanes b) { return a > b ? a : b; }
inline FloatLanes Min(FloatLanes a, FloatLanes b) { return a < b ? a : b; }

// ((v0 + v4) + (v2 + v6)) + ((v1 + v5) + (v3 + v7))
template <typename Lanes>
auto SumOfLanes(Lanes v) {
  const auto four =
      __builtin_shufflevector(v, v, 0, 1, 2, 3) + __builtin_shufflevector(v, v, 4, 5, 6, 7);
  const auto two =
      __builtin_shufflevector(four, four, 0, 1) + __builtin_shufflevector(four, four, 2, 3);
  return two[0] + two[1];
}

inline float MaxOfLanes(FloatLanes v) {
  const auto low = __builtin_shufflevector(v, v, 0, 1, 2, 3);
  const auto high = __builtin_shufflevector(v, v, 4, 5, 6, 7);
  const auto four = low > high ? low : high;
  const auto left = __builtin_shufflevector(four, four, 0, 1);
  const auto right = __builtin_shufflevector(four, four, 2, 3);
  const auto two = left > right ? left : right;
  return two[0] > two[1] ? two[0] : two[1];
}

// Two at once: SumOfLanes(a) and SumOfLanes(b), in the same order of additions.
inline std::pair<float, float> SumsOfLanes(FloatLanes a, FloatLanes b) {
  const auto four = __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11) +
                    __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
  const auto two = four + __builtin_shufflevector(four, four, 2, 3, 0, 1, 6, 7, 4, 5);
  const auto one = two + __builtin_shufflevector(two, two, 1, 0, 3, 2, 5, 4, 7, 6);
  return {one[0], one[4]};
}

inline std::pair<float, float> MaximaOfLanes(FloatLanes a, FloatLanes b) {
  const auto four = Max(__builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11),
                        __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15));
  const auto two = Max(four, __builtin_shufflevector(four, four, 2, 3, 0, 1, 6, 7, 4, 5));
  const auto one = Max(two, __builtin_shufflevector(two, two, 1, 0, 3, 2, 5, 4, 7, 6));
  return {one[0], one[4]};
}

// Replaces one number in a row, as a whole vector: a load of the vector soon after then need not
// wait until a narrower store has reached the cache.
inline void StoreLane(float x, float* row, std::size_t position) {
  constexpr std::size_t kMask = kLanes - 1;
  const IntLanes lane_positions = {0, 1, 2, 3, 4, 5, 6, 7};
  const auto lane = static_cast<std::int32_t>(position & kMask);
  float* const lanes = row + (position & ~kMask);
  StoreLanes(lane_positions == lane ? Broadcast(x) : LoadLanes(lanes), lanes);
}

inline float MinOfLanes(FloatLanes v) { return -MaxOfLanes(-v); }

inline std::int32_t MinOfLanes(IntLanes v) {
  const auto low = __builtin_shufflevector(v, v, 0, 1, 2, 3);
  const auto high = __builtin_shufflevector(v, v, 4, 5, 6, 7);
  const auto four = low < high ? low : high;
  const auto left = __builtin_shufflevector(four, four, 0, 1);
  const auto right = __builtin_shufflevector(four, four, 2, 3);
  const auto two = left < right ? left : right;
  return two[0] < two[1] ? two[0] : two[1];
}

// exp(x) for x <= 0; x below -87 counts as -87 (1.6e-38). Relative error below 2e-7.
//
// x = n ln 2 + r with |r| <= 0.35, exp(r) by its Taylor polynomial of degree 7, 2^n by its bits.
// Not std::exp: that is scalar, and its last bit depends on the C library and the processor.
inline FloatLanes ExpOfNonPositive(FloatLanes x) {
  constexpr float kLog2E = 1.44269504F;
  constexpr float kLn2High = 0.693359375F;  // few bits, so that n * kLn2High is exact
  constexpr float kLn2Low = -2.12194440e-4F;
  constexpr float kRoundToInteger = 12582912.0F;  // 1.5 * 2^23: adding it drops the fraction

  x = Max(x, Broadcast(-87.0F));
  const FloatLanes n = (x * kLog2E + kRoundToInteger) - kRoundToInteger;
  const FloatLanes r = (x - n * kLn2High) - n * kLn2Low;
  // Estrin's order: half the latency of Horner's.
  const FloatLanes r2 = r * r;
  const FloatLanes low = (r * (1.0F / 6.0F) + 0.5F) * r2 + (r + 1.0F);
  const FloatLanes high =
      (r * (1.0F / 5040.0F) + 1.0F / 720.0F) * r2 + (r * (1.0F / 120.0F) + 1.0F / 24.0F);
  const FloatLanes y = high * (r2 * r2) + low;
  const IntLanes exponent_bits = (__builtin_convertvector(n, IntLanes) + 127) << 23;
  FloatLanes two_to_n;
  std::memcpy(&two_to_n, &exponent_bits, sizeof(two_to_n));
  return y * two_to_n;
}

}  // namespace mcts
