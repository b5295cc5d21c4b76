// A block: consecutive steps of an episode as one string of bytes, frames and rows.
//
//     u32 num_steps | bitmaps u64 [num_steps, bitmap_words] | rows f32 [num_steps, row_size] |
//     lines
//
// A frame is cut into lines of 8 bytes, the last one filled up with zeros. Only the lines that
// differ from the previous frame are kept, in order; the frame's bitmap marks them. The lines of a
// block's first frame are compared with the bytes one pitch before them in the same frame: the
// picture's row above. Game frames change in few places and have large areas of one colour, so the
// compressor that follows reads a tenth of the bytes. Values are stored as they lie in memory, for
// little-endian machines.

#ifndef EFFICIENTZERO_BLOCKS_STEP_BLOCK_H_
#define EFFICIENTZERO_BLOCKS_STEP_BLOCK_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace efficientzero {

inline constexpr std::size_t kLineBytes = 8;
inline constexpr std::size_t kLinesPerWord = 64;
inline constexpr std::size_t kWordBytes = kLineBytes * kLinesPerWord;  // of a frame, for one word

struct BlockShape {
  std::size_t frame_bytes = 0;
  std::size_t row_size = 0;   // floats
  std::size_t max_steps = 0;  // of a block
  std::size_t pitch = 0;      // bytes of a picture's row if they are whole lines, else 0

  // Lines of a block's first frame that are compared with zeros: no bytes lie a pitch before them.
  std::size_t first_row_bytes() const {
    return pitch == 0 ? frame_bytes : std::min(pitch, frame_bytes);
  }
  std::size_t bitmap_words() const { return (frame_bytes + kWordBytes - 1) / kWordBytes; }
  std::size_t num_lines() const { return (frame_bytes + kLineBytes - 1) / kLineBytes; }
  // Size of a block of that many steps in which all lines change.
  std::size_t max_bytes(std::size_t num_steps) const;
};

// Collects steps into blocks, one after another.
class BlockWriter {
 public:
  explicit BlockWriter(const BlockShape& shape);

  const BlockShape& shape() const { return shape_; }
  std::size_t num_steps() const { return num_steps_; }
  // Adds a frame [frame_bytes] and returns its row, to be filled in. The block must not be full.
  float* Add(const std::uint8_t* frame);
  // The block so far; stays until the next Add or Clear.
  std::span<const std::uint8_t> Write();
  void Clear();

 private:
  // Makes the frame that a block's first frame is compared with.
  void ShiftDown(const std::uint8_t* frame);
  void AddWord(const std::uint8_t* now, std::uint8_t* before, std::uint64_t* bitmap);

  BlockShape shape_;
  std::size_t num_steps_ = 0;
  std::size_t lines_end_ = 0;           // bytes of lines_ in use
  std::vector<std::uint8_t> previous_;  // the frame before, filled up to whole words of lines
  std::vector<std::uint64_t> bitmaps_;
  std::vector<float> rows_;
  std::vector<std::uint8_t> lines_;
  std::vector<std::uint8_t> block_;
};

// Reads one block, where it lies.
class BlockReader {
 public:
  // Throws std::invalid_argument, with what was got and wanted, unless it is a whole block.
  BlockReader(const BlockShape& shape, std::span<const std::uint8_t> block);

  std::size_t num_steps() const { return num_steps_; }
  // f32 [num_steps, row_size], at any address.
  const std::uint8_t* rows() const { return rows_; }
  // Writes frames first .. first + count - 1, all of them in the block, one after another.
  void CopyFrames(std::size_t first, std::size_t count, std::uint8_t* target) const;

 private:
  // Writes the block's first frame; returns the next one's lines.
  const std::uint8_t* WriteFirst(std::uint8_t* target) const;
  // Writes the changed lines of one frame into ``target``, which holds the previous frame; returns
  // the next frame's lines.
  const std::uint8_t* Change(std::size_t step, const std::uint8_t* lines,
                             std::uint8_t* target) const;

  BlockShape shape_;
  std::size_t num_steps_ = 0;
  const std::uint8_t* bitmaps_ = nullptr;
  const std::uint8_t* rows_ = nullptr;
  const std::uint8_t* lines_ = nullptr;
};

}  // namespace efficientzero

#endif  // EFFICIENTZERO_BLOCKS_STEP_BLOCK_H_
