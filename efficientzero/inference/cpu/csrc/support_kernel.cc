// The arithmetic of support.h; see lanes.h.

#include "lanes.h"
#include "support.h"

namespace efficientzero {
namespace {

using std::size_t;

constexpr float kEpsilon = 0.001f;
constexpr float kLowest = -80.0f;  // below the largest logit: e to that is nothing beside 1

// The form that does not cancel, as in networks/scalar_support.py.
float InverseTransform(float value) {
  const float magnitude = __builtin_fabsf(value), slope = 1.0f + 2.0f * kEpsilon;
  const float w =
      2.0f * magnitude / (slope + __builtin_sqrtf(slope * slope + 4.0f * kEpsilon * magnitude));
  return __builtin_copysignf(w * (w + 2.0f), value);
}

// e^x, cheaper than Exp, for -80 <= x <= 80, as 2^n 2^r with |r| <= 1/2 and a polynomial for 2^r
// (minimax, exact at 0). Relative error some 2e-7, and some 2e-6 at the ends, where log2(e) is not
// exact enough.
KERNEL_INLINE Lanes QuickExp(Lanes x) {
  constexpr float kRounder = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  constexpr float kLog2E = 1.44269504f;
  const Lanes rounded = x * kLog2E + kRounder;  // n is in its lowest bits
  const Lanes rest = x * kLog2E - (rounded - kRounder);
  Lanes sum = rest * 1.326472731e-3f + 9.671512991e-3f;
  sum = sum * rest + 5.550733581e-2f;
  sum = sum * rest + 2.402224243e-1f;
  sum = sum * rest + 6.931470037e-1f;
  sum = sum * rest + 1.0f;
  const IntLanes exponent = (reinterpret_cast<IntLanes>(rounded) << 23) + (127 << 23);
  return sum * reinterpret_cast<Lanes>(exponent);
}

KERNEL_INLINE Lanes Larger(Lanes x, Lanes y) { return x > y ? x : y; }

KERNEL_INLINE float Sum(Lanes x) {
  float lanes[kLanes], sums[4] = {};
  Store(lanes, x);
  for (size_t i = 0; i < kLanes; i += 4) {
    for (size_t chain = 0; chain < 4; ++chain) sums[chain] += lanes[i + chain];
  }
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

KERNEL_INLINE float Largest(Lanes x) {
  float lanes[kLanes], largest[4] = {x[0], x[0], x[0], x[0]};
  Store(lanes, x);
  for (size_t i = 0; i < kLanes; i += 4) {
    for (size_t chain = 0; chain < 4; ++chain) {
      largest[chain] = lanes[i + chain] > largest[chain] ? lanes[i + chain] : largest[chain];
    }
  }
  const float low = largest[0] > largest[1] ? largest[0] : largest[1];
  const float high = largest[2] > largest[3] ? largest[2] : largest[3];
  return low > high ? low : high;
}

// Of at least kLanes bins. Several maxima at once: one would wait for itself at every step.
KERNEL_INLINE float Largest(const float* logits, size_t num_bins) {
  Lanes largest[4];
  for (Lanes& chain : largest) chain = Load(logits);
  size_t bin = 0;
  for (; bin + 4 * kLanes <= num_bins; bin += 4 * kLanes) {
    for (size_t i = 0; i < 4; ++i) {
      largest[i] = Larger(Load(logits + bin + i * kLanes), largest[i]);
    }
  }
  for (; bin + kLanes <= num_bins; bin += kLanes) {
    largest[0] = Larger(Load(logits + bin), largest[0]);
  }
  largest[1] = Larger(Load(logits + num_bins - kLanes), largest[1]);
  return Largest(Larger(Larger(largest[0], largest[1]), Larger(largest[2], largest[3])));
}

KERNEL_INLINE Lanes Weights(Lanes logits, float most) {
  const Lanes distance = logits - most;
  return QuickExp(distance < kLowest ? Lanes{} + kLowest : distance);
}

// Of at least kLanes bins.
KERNEL_INLINE float ExpectedBin(const float* logits, size_t num_bins) {
  const float most = Largest(logits, num_bins);
  Lanes weights{}, moments{}, lane, position;
  for (size_t i = 0; i < kLanes; ++i) lane[i] = static_cast<float>(i);
  position = lane - static_cast<float>(num_bins / 2);
  size_t bin = 0;
  for (; bin + kLanes <= num_bins; bin += kLanes) {
    const Lanes weight = Weights(Load(logits + bin), most);
    weights += weight;
    moments += weight * position;
    position += static_cast<float>(kLanes);
  }
  if (bin < num_bins) {
    // The last bins, of which the first few have been counted.
    const float counted = static_cast<float>(bin + kLanes - num_bins);
    Lanes weight = Weights(Load(logits + num_bins - kLanes), most);
    weight = lane < counted ? Lanes{} : weight;
    weights += weight;
    moments += weight * (position - counted);
  }
  return Sum(moments) / Sum(weights);
}

KERNEL_INLINE float ExpectedBinOfFew(const float* logits, size_t num_bins) {
  float padded[kLanes];
  for (size_t i = 0; i < kLanes; ++i) padded[i] = i < num_bins ? logits[i] : logits[0];
  const float most = Largest(padded, kLanes);
  const Lanes weights = Weights(Load(padded), most);
  float weight = 0.0f, moment = 0.0f;
  for (size_t i = 0; i < num_bins; ++i) {
    weight += weights[i];
    moment += weights[i] * (static_cast<float>(i) - static_cast<float>(num_bins / 2));
  }
  return moment / weight;
}

}  // namespace

namespace KERNEL_SET {

void RunDecoding(const Decoding& d) {
  for (size_t row = 0; row < d.num_rows; ++row) {
    const float* logits = d.logits + row * d.num_bins;
    const float expected = d.num_bins < kLanes ? ExpectedBinOfFew(logits, d.num_bins)
                                               : ExpectedBin(logits, d.num_bins);
    d.values[row] = InverseTransform(expected);
  }
}

}  // namespace KERNEL_SET
}  // namespace efficientzero
