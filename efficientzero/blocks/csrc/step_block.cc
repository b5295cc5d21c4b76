#include "step_block.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <stdexcept>
#include <string>

namespace efficientzero {
namespace {

constexpr std::size_t kHeaderBytes = sizeof(std::uint32_t);

std::uint64_t Load(const std::uint8_t* bytes) {
  std::uint64_t word;
  std::memcpy(&word, bytes, sizeof word);
  return word;
}

[[noreturn]] void Refuse(const std::string& what, std::size_t got, const std::string& wanted) {
  throw std::invalid_argument(what + ": got " + std::to_string(got) + ", wanted " + wanted);
}

}  // namespace

std::size_t BlockShape::max_bytes(std::size_t num_steps) const {
  return kHeaderBytes + num_steps * (bitmap_words() * sizeof(std::uint64_t) +
                                     row_size * sizeof(float) + num_lines() * kLineBytes);
}

BlockWriter::BlockWriter(const BlockShape& shape)
    : shape_(shape),
      previous_(shape.bitmap_words() * kWordBytes),
      bitmaps_(shape.max_steps * shape.bitmap_words()),
      rows_(shape.max_steps * shape.row_size),
      lines_(shape.max_steps * shape.num_lines() * kLineBytes),
      block_(shape.max_bytes(shape.max_steps)) {}

float* BlockWriter::Add(const std::uint8_t* frame) {
  if (num_steps_ == 0) ShiftDown(frame);
  std::uint64_t* const bitmap = &bitmaps_[num_steps_ * shape_.bitmap_words()];
  const std::size_t whole_words = shape_.frame_bytes / kWordBytes;
  for (std::size_t word = 0; word < whole_words; ++word) {
    AddWord(frame + word * kWordBytes, &previous_[word * kWordBytes], &bitmap[word]);
  }
  if (whole_words < shape_.bitmap_words()) {
    std::uint8_t filled_up[kWordBytes] = {};
    std::memcpy(filled_up, frame + whole_words * kWordBytes, shape_.frame_bytes % kWordBytes);
    AddWord(filled_up, &previous_[whole_words * kWordBytes], &bitmap[whole_words]);
  }
  return &rows_[num_steps_++ * shape_.row_size];
}

void BlockWriter::ShiftDown(const std::uint8_t* frame) {
  const std::size_t first_row = shape_.first_row_bytes();
  std::fill_n(previous_.begin(), first_row, std::uint8_t{0});
  std::memcpy(previous_.data() + first_row, frame, shape_.frame_bytes - first_row);
}

void BlockWriter::AddWord(const std::uint8_t* now, std::uint8_t* before, std::uint64_t* bitmap) {
  *bitmap = 0;
  if (std::memcmp(now, before, kWordBytes) == 0) return;  // most of a frame stands still
  std::uint64_t changed = 0;
  for (std::size_t line = 0; line < kLinesPerWord; ++line) {
    const std::uint64_t differs = Load(now + line * kLineBytes) != Load(before + line * kLineBytes);
    changed |= differs << line;
  }
  *bitmap = changed;
  for (; changed; changed &= changed - 1) {
    const std::size_t line = static_cast<std::size_t>(std::countr_zero(changed));
    std::memcpy(&lines_[lines_end_], now + line * kLineBytes, kLineBytes);
    lines_end_ += kLineBytes;
  }
  std::memcpy(before, now, kWordBytes);
}

std::span<const std::uint8_t> BlockWriter::Write() {
  std::uint8_t* end = block_.data();
  const auto append = [&end](const void* from, std::size_t num_bytes) {
    std::memcpy(end, from, num_bytes);
    end += num_bytes;
  };
  const std::uint32_t num_steps = static_cast<std::uint32_t>(num_steps_);
  append(&num_steps, sizeof num_steps);
  append(bitmaps_.data(), num_steps_ * shape_.bitmap_words() * sizeof(std::uint64_t));
  append(rows_.data(), num_steps_ * shape_.row_size * sizeof(float));
  append(lines_.data(), lines_end_);
  return {block_.data(), end};
}

void BlockWriter::Clear() { num_steps_ = lines_end_ = 0; }

BlockReader::BlockReader(const BlockShape& shape, std::span<const std::uint8_t> block)
    : shape_(shape) {
  std::uint32_t num_steps = 0;
  if (block.size() < kHeaderBytes) Refuse("bytes of a block", block.size(), "a header");
  std::memcpy(&num_steps, block.data(), sizeof num_steps);
  if (num_steps < 1 || num_steps > shape.max_steps) {
    Refuse("steps of a block", num_steps, "1.." + std::to_string(shape.max_steps));
  }
  num_steps_ = num_steps;
  const std::size_t num_words = num_steps_ * shape.bitmap_words();
  const std::size_t rows_begin = kHeaderBytes + num_words * sizeof(std::uint64_t);
  const std::size_t lines_begin = rows_begin + num_steps_ * shape.row_size * sizeof(float);
  if (block.size() < lines_begin) {
    Refuse("bytes of a block", block.size(), "at least " + std::to_string(lines_begin));
  }
  bitmaps_ = block.data() + kHeaderBytes;
  rows_ = block.data() + rows_begin;
  lines_ = block.data() + lines_begin;
  const std::size_t last_lines = shape.num_lines() - (shape.bitmap_words() - 1) * kLinesPerWord;
  const std::uint64_t beyond = last_lines < kLinesPerWord ? ~std::uint64_t{0} << last_lines : 0;
  std::size_t num_changed = 0;
  for (std::size_t word = 0; word < num_words; ++word) {
    const std::uint64_t changed = Load(bitmaps_ + word * sizeof(std::uint64_t));
    num_changed += static_cast<std::size_t>(std::popcount(changed));
    if (word % shape.bitmap_words() == shape.bitmap_words() - 1 && (changed & beyond) != 0) {
      Refuse("last changed line of a frame",
             kLinesPerWord - 1 - static_cast<std::size_t>(std::countl_zero(changed)),
             "below " + std::to_string(last_lines));
    }
  }
  const std::size_t wanted = lines_begin + num_changed * kLineBytes;
  if (block.size() != wanted) Refuse("bytes of a block", block.size(), std::to_string(wanted));
}

void BlockReader::CopyFrames(std::size_t first, std::size_t count, std::uint8_t* target) const {
  if (count == 0) return;
  const std::uint8_t* lines = WriteFirst(target);
  for (std::size_t step = 1; step <= first; ++step) lines = Change(step, lines, target);
  for (std::size_t step = first + 1; step < first + count; ++step) {
    std::memcpy(target + shape_.frame_bytes, target, shape_.frame_bytes);
    target += shape_.frame_bytes;
    lines = Change(step, lines, target);
  }
}

const std::uint8_t* BlockReader::WriteFirst(std::uint8_t* target) const {
  const std::size_t first_row = shape_.first_row_bytes();
  std::memset(target, 0, first_row);
  const std::uint8_t* lines = lines_;
  const std::size_t whole_lines = shape_.frame_bytes / kLineBytes;
  std::uint64_t changed = 0;
  for (std::size_t line = 0; line < shape_.num_lines(); ++line, changed >>= 1) {
    if (line % kLinesPerWord == 0) {
      changed = Load(bitmaps_ + line / kLinesPerWord * sizeof(std::uint64_t));
    }
    std::uint8_t* const here = target + line * kLineBytes;
    const std::uint8_t* from = here;
    if (changed & 1) {
      from = lines;
      lines += kLineBytes;
    } else if (line * kLineBytes >= first_row) {
      from -= shape_.pitch;
    }
    if (line < whole_lines) {  // known to the compiler: one move
      std::memmove(here, from, kLineBytes);
    } else {
      std::memmove(here, from, shape_.frame_bytes % kLineBytes);
    }
  }
  return lines;
}

const std::uint8_t* BlockReader::Change(std::size_t step, const std::uint8_t* lines,
                                        std::uint8_t* target) const {
  const std::uint8_t* bitmap = bitmaps_ + step * shape_.bitmap_words() * sizeof(std::uint64_t);
  const std::size_t whole_lines = shape_.frame_bytes / kLineBytes;
  for (std::size_t word = 0; word < shape_.bitmap_words(); ++word) {
    std::uint64_t changed = Load(bitmap + word * sizeof(std::uint64_t));
    for (; changed; changed &= changed - 1, lines += kLineBytes) {
      const std::size_t line =
          word * kLinesPerWord + static_cast<std::size_t>(std::countr_zero(changed));
      const std::size_t size = line < whole_lines ? kLineBytes : shape_.frame_bytes % kLineBytes;
      if (size == kLineBytes) {  // known to the compiler: one move
        std::memcpy(target + line * kLineBytes, lines, kLineBytes);
      } else {
        std::memcpy(target + line * kLineBytes, lines, size);
      }
    }
  }
  return lines;
}

}  // namespace efficientzero
