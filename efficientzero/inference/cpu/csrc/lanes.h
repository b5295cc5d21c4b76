// A vector register of the instruction set for which a kernel is being compiled, which CMake names:
//   KERNEL_LANES  floats of a register
//   KERNEL_SET    the name of the namespace that this copy's entries are in
// Kernels include nothing else with inline functions: the linker would keep one copy of those for
// all instruction sets, which a processor without them could not run. Hence the unnamed namespace.

#ifndef EFFICIENTZERO_KERNELS_LANES_H_
#define EFFICIENTZERO_KERNELS_LANES_H_

#include <cstddef>

#define KERNEL_INLINE inline __attribute__((always_inline))

namespace efficientzero {
namespace {

constexpr std::size_t kLanes = KERNEL_LANES;
typedef float Lanes __attribute__((vector_size(kLanes * sizeof(float))));
typedef int IntLanes __attribute__((vector_size(kLanes * sizeof(int))));
typedef float UnalignedLanes
    __attribute__((vector_size(kLanes * sizeof(float)), aligned(4), may_alias));

KERNEL_INLINE Lanes Load(const float* from) {
  return *reinterpret_cast<const UnalignedLanes*>(from);
}
KERNEL_INLINE void Store(float* to, Lanes lanes) { *reinterpret_cast<UnalignedLanes*>(to) = lanes; }

// Comparisons are such that a NaN stays a NaN: a diverged network has to be seen.
KERNEL_INLINE Lanes Positive(Lanes x) { return x < 0.0f ? Lanes{} : x; }
KERNEL_INLINE Lanes Clamped(Lanes x, float bound) {
  x = x > bound ? Lanes{} + bound : x;
  return x < -bound ? Lanes{} - bound : x;
}

// e^x, with a relative error of some 1e-7 (Cephes' expf), for -80 <= x <= 80.
KERNEL_INLINE Lanes Exp(Lanes x) {
  constexpr float kRounder = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const Lanes power = (x * 1.44269504f + kRounder) - kRounder;
  const Lanes rest = x - power * 0.693359375f + power * 2.12194440e-4f;
  Lanes sum = rest * 1.9875691500e-4f + 1.3981999507e-3f;
  sum = sum * rest + 8.3334519073e-3f;
  sum = sum * rest + 4.1665795894e-2f;
  sum = sum * rest + 1.6666665459e-1f;
  sum = sum * rest + 5.0000001201e-1f;
  sum = sum * rest * rest + rest + 1.0f;
  const IntLanes exponent = (__builtin_convertvector(power, IntLanes) + 127) << 23;
  return sum * reinterpret_cast<Lanes>(exponent);
}

}  // namespace
}  // namespace efficientzero

#endif  // EFFICIENTZERO_KERNELS_LANES_H_
