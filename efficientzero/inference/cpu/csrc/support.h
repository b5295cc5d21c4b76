// From a head's logits to the scalars that they stand for (MuZero, appendix F), for inference.

#ifndef EFFICIENTZERO_KERNELS_SUPPORT_H_
#define EFFICIENTZERO_KERNELS_SUPPORT_H_

#include <cstddef>

namespace efficientzero {

struct Decoding {
  const float* logits = nullptr;  // [num_rows, num_bins]
  float* values = nullptr;        // [num_rows]
  std::size_t num_rows = 0;
  std::size_t num_bins = 0;  // odd: one bin per integer, the middle one for zero
};

// The expected bin, through the inverse of h(x) = sign(x) (sqrt(|x| + 1) - 1) + 0.001 x. Runs on
// the calling thread.
void Decode(const Decoding& decoding);

}  // namespace efficientzero

#endif  // EFFICIENTZERO_KERNELS_SUPPORT_H_
