// 3x3 convolution by Winograd's method F(6x6, 3x3) (Lavin and Gray, 2016, "Fast Algorithms for
// Convolutional Neural Networks"), for inference on one core.
//
// The weights come transformed, so that a call costs two transforms of the data and 64 matrix
// products [tiles, in] x [in, out]: a fifth of the direct sum's multiplications for 6x6 latents.

#ifndef EFFICIENTZERO_KERNELS_WINOGRAD_H_
#define EFFICIENTZERO_KERNELS_WINOGRAD_H_

#include <cstddef>
#include <cstdint>

namespace efficientzero {

inline constexpr int kTile = 6;           // outputs of a tile, a side
inline constexpr int kPatch = kTile + 2;  // inputs of a tile, a side
inline constexpr int kPoints = kPatch * kPatch;
inline constexpr int kChannelMultiple = 16;  // of both channel counts

// Stride 1, padding 1. Images lie as [image][y][x][channel]; all pointers are borrowed.
//
// With ``nodes`` the images are picked from a pool where they lie: image i is the pool's image
// [nodes[i], i]. The outputs must not lie over images that are read.
struct Convolution {
  const float* images = nullptr;  // [num_images, height, width, in_channels], or a pool of them:
                                  // [num_nodes, num_images, height, width, in_channels]
  const std::int32_t* nodes = nullptr;  // [num_images], in 0..num_nodes-1; null: no pool
  const float* weights = nullptr;       // [kPoints, in_channels, out_channels], transformed
  const float* bias = nullptr;          // [out_channels]
  const float* added = nullptr;         // like outputs, or null: added before the ReLU
  // Both or neither, with equal channels: image i + actions[i] * action_map is added likewise.
  const float* action_map = nullptr;      // [height, width, out_channels]
  const std::int32_t* actions = nullptr;  // [num_images]
  float* outputs = nullptr;               // [num_images, height, width, out_channels]
  std::size_t num_nodes = 0;
  std::size_t num_images = 0;
  std::size_t height = 0;
  std::size_t width = 0;
  std::size_t in_channels = 0;  // multiples of kChannelMultiple
  std::size_t out_channels = 0;
  bool relu = false;
};

// Runs on the calling thread with the widest vectors that the processor has. Same numbers for an
// image whatever the other images are, and wherever they lie; the last bits depend on the vectors'
// kind. Throws std::invalid_argument at a node that is not in the pool, before anything is written.
void Convolve(const Convolution& convolution);

}  // namespace efficientzero

#endif  // EFFICIENTZERO_KERNELS_WINOGRAD_H_
