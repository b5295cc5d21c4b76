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

// Lanes ``bin`` onwards; beyond the last bin they are filled up with ``filler``.
KERNEL_INLINE Lanes LoadBins(const float* logits, size_t bin, size_t num_bins, float filler) {
  if (bin + kLanes <= num_bins) return Load(logits + bin);
  float padded[kLanes];
  for (size_t i = 0; i < kLanes; ++i) padded[i] = bin + i < num_bins ? logits[bin + i] : filler;
  return Load(padded);
}

float ExpectedBin(const float* logits, size_t num_bins) {
  Lanes largest = Lanes{} + logits[0];
  for (size_t bin = 0; bin < num_bins; bin += kLanes) {
    const Lanes row = LoadBins(logits, bin, num_bins, logits[0]);
    largest = row > largest ? row : largest;
  }
  float most = largest[0];
  for (size_t i = 1; i < kLanes; ++i) most = largest[i] > most ? largest[i] : most;
  Lanes weights{}, moments{}, position;
  for (size_t i = 0; i < kLanes; ++i) {
    position[i] = static_cast<float>(i) - static_cast<float>(num_bins / 2);
  }
  for (size_t bin = 0; bin < num_bins; bin += kLanes) {
    Lanes distance = LoadBins(logits, bin, num_bins, most + 2.0f * kLowest) - most;
    distance = distance < kLowest ? Lanes{} + kLowest : distance;
    const Lanes weight = Exp(distance);
    weights += weight;
    moments += weight * position;
    position += static_cast<float>(kLanes);
  }
  float weight = 0.0f, moment = 0.0f;
  for (size_t i = 0; i < kLanes; ++i) {
    weight += weights[i];
    moment += moments[i];
  }
  return moment / weight;
}

}  // namespace

namespace KERNEL_SET {

void RunDecoding(const Decoding& d) {
  for (size_t row = 0; row < d.num_rows; ++row) {
    d.values[row] = InverseTransform(ExpectedBin(d.logits + row * d.num_bins, d.num_bins));
  }
}

}  // namespace KERNEL_SET
}  // namespace efficientzero
