// Runs the copy of a kernel that was compiled for the widest registers of the processor at hand.

#include "dispatch.h"

#include <algorithm>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace efficientzero {

#define DECLARE_KERNELS(set)                                                    \
  namespace set {                                                               \
  void RunConvolution(const Convolution&, float* workspace, std::size_t tiles); \
  void RunStep(const LstmStep&);                                                \
  void RunDecoding(const Decoding&);                                            \
  }
DECLARE_KERNELS(portable)
#ifdef KERNELS_X86
DECLARE_KERNELS(avx2)
DECLARE_KERNELS(avx512)
#endif

namespace {

constexpr std::size_t kCacheFloats = std::size_t{1} << 18;  // a core's second cache: 1 MiB

struct Kernels {
  const char* instruction_set;
  void (*convolve)(const Convolution&, float*, std::size_t);
  void (*step)(const LstmStep&);
  void (*decode)(const Decoding&);
};

// At most the set that EFFICIENTZERO_KERNELS names: for tests, and for the same bits on two
// machines.
Kernels Widest() {
  const char* variable = std::getenv("EFFICIENTZERO_KERNELS");
  const std::string_view most = variable != nullptr ? variable : "avx512";
#ifdef KERNELS_X86
  __builtin_cpu_init();
  if (most == "avx512" && __builtin_cpu_supports("avx512f")) {
    return {"avx512", avx512::RunConvolution, avx512::RunStep, avx512::RunDecoding};
  }
  if (most != "portable" && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    return {"avx2", avx2::RunConvolution, avx2::RunStep, avx2::RunDecoding};
  }
#endif
  return {"portable", portable::RunConvolution, portable::RunStep, portable::RunDecoding};
}

const Kernels& Chosen() {
  static const Kernels kernels = Widest();
  return kernels;
}

void CheckNodes(const std::int32_t* nodes, std::size_t count, std::size_t num_nodes) {
  for (std::size_t i = 0; nodes != nullptr && i < count; ++i) {
    if (nodes[i] < 0 || static_cast<std::size_t>(nodes[i]) >= num_nodes) {
      throw std::invalid_argument("nodes: got " + std::to_string(nodes[i]) + " for row " +
                                  std::to_string(i) + ", wanted at least 0 and less than " +
                                  std::to_string(num_nodes));
    }
  }
}

}  // namespace

void Convolve(const Convolution& c) {
  CheckNodes(c.nodes, c.num_images, c.num_nodes);
  const std::size_t floats_a_tile = kPoints * (c.in_channels + c.out_channels);
  const std::size_t tiles =
      c.num_images * ((c.height + kTile - 1) / kTile) * ((c.width + kTile - 1) / kTile);
  const std::size_t tiles_at_once =
      std::min(tiles, std::max<std::size_t>(6, kCacheFloats / floats_a_tile / 6 * 6));
  thread_local std::vector<float> workspace;  // kept: allocated once a thread and size
  workspace.resize(std::max(workspace.size(), tiles_at_once * floats_a_tile));
  Chosen().convolve(c, workspace.data(), tiles_at_once);
}

void Step(const LstmStep& step) {
  CheckNodes(step.nodes, step.num_rows, step.num_nodes);
  thread_local std::vector<float> zeros;  // kept, and never written
  zeros.resize(std::max(zeros.size(), 2 * step.hidden_size));
  LstmStep with_zeros = step;
  with_zeros.zeros = zeros.data();
  Chosen().step(with_zeros);
}

void Decode(const Decoding& decoding) { Chosen().decode(decoding); }

const char* InstructionSet() { return Chosen().instruction_set; }

}  // namespace efficientzero
