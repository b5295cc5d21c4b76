// The arithmetic of winograd.h; see lanes.h.

#include "lanes.h"
#include "winograd.h"

namespace efficientzero {
namespace {

using std::size_t;

// The matrix product's block of registers: of AVX-512's 32 registers 24, of the others' 16 twelve.
constexpr size_t kRows = 6;
constexpr size_t kColumns = kLanes == 16 ? 4 : 2;

// B^T of F(6, 3) with the points 0, 1, -1, 2, -2, 1/2, -1/2 and infinity.
KERNEL_INLINE void TransformInput(const Lanes in[kPatch], size_t stride, Lanes* out,
                                  size_t out_stride) {
  const Lanes d0 = in[0], d1 = in[stride], d2 = in[2 * stride], d3 = in[3 * stride],
              d4 = in[4 * stride], d5 = in[5 * stride], d6 = in[6 * stride], d7 = in[7 * stride];
  out[0] = (d0 - d6) + (d4 - d2) * 5.25f;
  out[7 * out_stride] = (d7 - d1) + (d3 - d5) * 5.25f;
  const Lanes even1 = d2 + d6 - d4 * 4.25f, odd1 = d1 + d5 - d3 * 4.25f;
  out[out_stride] = even1 + odd1;
  out[2 * out_stride] = even1 - odd1;
  const Lanes even2 = d6 + d2 * 0.25f - d4 * 1.25f, odd2 = d1 * 0.5f - d3 * 2.5f + d5 * 2.0f;
  out[3 * out_stride] = even2 + odd2;
  out[4 * out_stride] = even2 - odd2;
  const Lanes even3 = d6 + d2 * 4.0f - d4 * 5.0f, odd3 = d1 * 2.0f - d3 * 2.5f + d5 * 0.5f;
  out[5 * out_stride] = even3 + odd3;
  out[6 * out_stride] = even3 - odd3;
}

// A^T of the same.
KERNEL_INLINE void TransformOutput(const Lanes* in, size_t stride, Lanes* out, size_t out_stride) {
  const Lanes m0 = in[0], m7 = in[7 * stride];
  const Lanes sum1 = in[stride] + in[2 * stride], diff1 = in[stride] - in[2 * stride];
  const Lanes sum2 = in[3 * stride] + in[4 * stride], diff2 = in[3 * stride] - in[4 * stride];
  const Lanes sum3 = in[5 * stride] + in[6 * stride], diff3 = in[5 * stride] - in[6 * stride];
  out[0] = m0 + sum1 + sum2 + sum3;
  out[out_stride] = diff1 + diff2 * 2.0f + diff3 * 0.5f;
  out[2 * out_stride] = sum1 + sum2 * 4.0f + sum3 * 0.25f;
  out[3 * out_stride] = diff1 + diff2 * 8.0f + diff3 * 0.125f;
  out[4 * out_stride] = sum1 + sum2 * 16.0f + sum3 * 0.0625f;
  out[5 * out_stride] = diff1 + diff2 * 32.0f + diff3 * 0.03125f + m7;
}

// Where a tile's first output lies.
struct Place {
  size_t image, y, x;
};

inline Place PlaceOf(const Convolution& c, size_t tile) {
  const size_t across = (c.width + kTile - 1) / kTile, down = (c.height + kTile - 1) / kTile;
  return {tile / (across * down), tile / across % down * kTile, tile % across * kTile};
}

// Where image ``index`` lies.
inline const float* ImageOf(const Convolution& c, size_t index) {
  const size_t node = c.nodes == nullptr ? 0 : static_cast<size_t>(c.nodes[index]);
  return c.images + (node * c.num_images + index) * c.height * c.width * c.in_channels;
}

// Writes tile ``row`` of [kPoints, rows, in_channels].
void GatherTile(const Convolution& c, const Place& place, size_t row, size_t rows, float* points) {
  const float* image = ImageOf(c, place.image);
  for (size_t channel = 0; channel < c.in_channels; channel += kLanes) {
    Lanes half[kPoints], whole[kPatch];
    for (size_t i = 0; i < kPatch; ++i) {
      Lanes line[kPatch];
      const size_t y = place.y + i - 1;  // wraps to a huge number above the image
      for (size_t j = 0; j < kPatch; ++j) {
        const size_t x = place.x + j - 1;
        line[j] = y < c.height && x < c.width
                      ? Load(image + (y * c.width + x) * c.in_channels + channel)
                      : Lanes{};
      }
      TransformInput(line, 1, half + i * kPatch, 1);
    }
    for (size_t j = 0; j < kPatch; ++j) {
      TransformInput(half + j, kPatch, whole, 1);
      for (size_t i = 0; i < kPatch; ++i) {
        Store(points + ((i * kPatch + j) * rows + row) * c.in_channels + channel, whole[i]);
      }
    }
  }
}

// Reads tile ``row`` of [kPoints, rows, out_channels].
void ScatterTile(const Convolution& c, const Place& place, size_t row, size_t rows,
                 const float* points) {
  const size_t image = place.image * c.height * c.width * c.out_channels;
  const bool adds_action = c.action_map != nullptr;
  const float* const input = adds_action ? ImageOf(c, place.image) : nullptr;
  const float action = adds_action ? static_cast<float>(c.actions[place.image]) : 0.0f;
  for (size_t channel = 0; channel < c.out_channels; channel += kLanes) {
    Lanes half[kTile * kPatch];
    for (size_t j = 0; j < kPatch; ++j) {
      Lanes column[kPatch];
      for (size_t i = 0; i < kPatch; ++i) {
        column[i] = Load(points + ((i * kPatch + j) * rows + row) * c.out_channels + channel);
      }
      TransformOutput(column, 1, half + j, kPatch);
    }
    const Lanes bias = Load(c.bias + channel);
    for (size_t i = 0; i < kTile && place.y + i < c.height; ++i) {
      Lanes line[kTile];
      TransformOutput(half + i * kPatch, 1, line, 1);
      for (size_t j = 0; j < kTile && place.x + j < c.width; ++j) {
        const size_t pixel = ((place.y + i) * c.width + place.x + j) * c.out_channels + channel;
        const size_t at = image + pixel;
        Lanes sum = line[j] + bias;
        if (c.added != nullptr) sum += Load(c.added + at);
        if (adds_action) sum += Load(input + pixel) + action * Load(c.action_map + pixel);
        if (c.relu) sum = Positive(sum);
        Store(c.outputs + at, sum);
      }
    }
  }
}

// out[r, :] = in[r, :] x weights, for kBlockRows rows and kBlockColumns vectors of columns.
template <size_t kBlockRows, size_t kBlockColumns>
inline void MultiplyBlock(const float* in, const float* weights, float* out, size_t depth,
                          size_t columns) {
  Lanes sums[kBlockRows][kBlockColumns] = {};
  for (size_t k = 0; k < depth; ++k) {
    Lanes row[kBlockColumns];
    for (size_t j = 0; j < kBlockColumns; ++j) row[j] = Load(weights + k * columns + j * kLanes);
    for (size_t i = 0; i < kBlockRows; ++i) {
      const float factor = in[i * depth + k];
      for (size_t j = 0; j < kBlockColumns; ++j) sums[i][j] += factor * row[j];
    }
  }
  for (size_t i = 0; i < kBlockRows; ++i) {
    for (size_t j = 0; j < kBlockColumns; ++j) Store(out + i * columns + j * kLanes, sums[i][j]);
  }
}

template <size_t kBlockColumns>
void MultiplyColumns(const float* in, const float* weights, float* out, size_t rows, size_t depth,
                     size_t columns) {
  size_t row = 0;
  for (; row + kRows <= rows; row += kRows) {
    MultiplyBlock<kRows, kBlockColumns>(in + row * depth, weights, out + row * columns, depth,
                                        columns);
  }
  in += row * depth;
  out += row * columns;
  switch (rows - row) {
    case 5:
      return MultiplyBlock<5, kBlockColumns>(in, weights, out, depth, columns);
    case 4:
      return MultiplyBlock<4, kBlockColumns>(in, weights, out, depth, columns);
    case 3:
      return MultiplyBlock<3, kBlockColumns>(in, weights, out, depth, columns);
    case 2:
      return MultiplyBlock<2, kBlockColumns>(in, weights, out, depth, columns);
    case 1:
      return MultiplyBlock<1, kBlockColumns>(in, weights, out, depth, columns);
    default:
      return;
  }
}

// out [rows, columns] = in [rows, depth] x weights [depth, columns].
void Multiply(const float* in, const float* weights, float* out, size_t rows, size_t depth,
              size_t columns) {
  size_t column = 0;
  for (; column + kColumns * kLanes <= columns; column += kColumns * kLanes) {
    MultiplyColumns<kColumns>(in, weights + column, out + column, rows, depth, columns);
  }
  for (; column < columns; column += kLanes) {
    MultiplyColumns<1>(in, weights + column, out + column, rows, depth, columns);
  }
}

}  // namespace

namespace KERNEL_SET {

void RunConvolution(const Convolution& c, float* workspace, size_t tiles_at_once) {
  const size_t tiles =
      c.num_images * ((c.height + kTile - 1) / kTile) * ((c.width + kTile - 1) / kTile);
  float* const products = workspace + kPoints * tiles_at_once * c.in_channels;
  for (size_t first = 0; first < tiles; first += tiles_at_once) {
    const size_t rows = tiles - first < tiles_at_once ? tiles - first : tiles_at_once;
    for (size_t row = 0; row < rows; ++row) {
      GatherTile(c, PlaceOf(c, first + row), row, rows, workspace);
    }
    for (size_t point = 0; point < kPoints; ++point) {
      Multiply(workspace + point * rows * c.in_channels,
               c.weights + point * c.in_channels * c.out_channels,
               products + point * rows * c.out_channels, rows, c.in_channels, c.out_channels);
    }
    for (size_t row = 0; row < rows; ++row) {
      ScatterTile(c, PlaceOf(c, first + row), row, rows, products);
    }
  }
}

}  // namespace KERNEL_SET
}  // namespace efficientzero
