// 3x3 convolution by Winograd's method F(6x6, 3x3) (Lavin and Gray, 2016, "Fast Algorithms for
// Convolutional Neural Networks"), for inference on one core.
//
// The weights come transformed, so that a call costs two transforms of the data and 64 matrix
// products [tiles, in] x [in, out]: a fifth of the direct sum's multiplications for 6x6 latents.

#ifndef EFFICIENTZERO_KERNELS_WINOGRAD_H_
#define EFFICIENTZERO_KERNELS_WINOGRAD_H_

#include <cstddef>

namespace efficientzero {

inline constexpr int kTile = 6;           // outputs of a tile, a side
inline constexpr int kPatch = kTile + 2;  // inputs of a tile, a side
inline constexpr int kPoints = kPatch * kPatch;
inline constexpr int kChannelMultiple = 16;  // of both channel counts

// Stride 1, padding 1. Images lie as [image][y][x][channel]; all pointers are borrowed.
struct Convolution {
  const float* images = nullptr;   // [num_images, height, width, in_channels]
  const float* weights = nullptr;  // [kPoints, in_channels, out_channels], transformed
  const float* bias = nullptr;     // [out_channels]
  const float* added = nullptr;    // like outputs, or null: added before the ReLU
  float* outputs = nullptr;        // [num_images, height, width, out_channels]
  std::size_t num_images = 0;
  std::size_t height = 0;
  std::size_t width = 0;
  std::size_t in_channels = 0;  // multiples of kChannelMultiple
  std::size_t out_channels = 0;
  bool relu = false;
};

// Runs on the calling thread with the widest vectors that the processor has. Same numbers for an
// image whatever the other images are; the last bits depend on the vectors' kind.
void Convolve(const Convolution& convolution);

}  // namespace efficientzero

#endif  // EFFICIENTZERO_KERNELS_WINOGRAD_H_
