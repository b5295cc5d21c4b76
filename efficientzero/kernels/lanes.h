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

}  // namespace
}  // namespace efficientzero

#endif  // EFFICIENTZERO_KERNELS_LANES_H_
