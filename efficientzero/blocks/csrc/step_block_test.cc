// Blocks written and read again, over frames of every kind of remainder; and damaged ones, which
// must be refused or read within their bounds (a sanitizer sees the rest).

#include "step_block.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <stdexcept>

namespace {

using efficientzero::BlockReader;
using efficientzero::BlockShape;
using efficientzero::BlockWriter;
using Bytes = std::vector<std::uint8_t>;

std::mt19937 generator(0);

std::size_t Below(std::size_t stop) { return generator() % stop; }

void Check(bool holds, const char* what, const BlockShape& shape) {
  if (!holds) {
    std::printf("%s: wrong for %zu bytes a frame, %zu steps, pitch %zu\n", what, shape.frame_bytes,
                shape.max_steps, shape.pitch);
    std::exit(1);
  }
}

// Frames that change in some places from one to the next.
std::vector<Bytes> Frames(const BlockShape& shape, std::size_t num_changes) {
  std::vector<Bytes> frames;
  Bytes frame(shape.frame_bytes);
  for (std::size_t step = 0; step < shape.max_steps; ++step) {
    for (std::size_t change = 0; change < num_changes; ++change) {
      frame[Below(frame.size())] = static_cast<std::uint8_t>(Below(256));
    }
    frames.push_back(frame);
  }
  return frames;
}

Bytes Write(BlockWriter& writer, const std::vector<Bytes>& frames, std::size_t num_steps) {
  for (std::size_t step = 0; step < num_steps; ++step) {
    float* const row = writer.Add(frames[step].data());
    for (std::size_t i = 0; i < writer.shape().row_size; ++i) {
      row[i] = static_cast<float>(100 * step + i);
    }
  }
  const auto written = writer.Write();
  Bytes block(written.begin(), written.end());
  writer.Clear();
  return block;
}

void TestRoundTrip(const BlockShape& shape, std::size_t num_changes) {
  const std::vector<Bytes> frames = Frames(shape, num_changes);
  BlockWriter writer(shape);
  for (std::size_t num_steps = 1; num_steps <= shape.max_steps; ++num_steps) {
    const Bytes block = Write(writer, frames, num_steps);
    Check(block.size() <= shape.max_bytes(num_steps), "size", shape);
    const BlockReader reader(shape, block);
    Check(reader.num_steps() == num_steps, "number of steps", shape);
    for (std::size_t step = 0; step < num_steps; ++step) {
      for (std::size_t i = 0; i < shape.row_size; ++i) {
        float number;
        std::memcpy(&number, reader.rows() + sizeof number * (step * shape.row_size + i),
                    sizeof number);
        Check(number == static_cast<float>(100 * step + i), "row", shape);
      }
    }
    for (std::size_t first = 0; first < num_steps; ++first) {
      for (std::size_t count = 0; first + count <= num_steps; ++count) {
        Bytes target(count * shape.frame_bytes);  // exactly as long as it must be
        reader.CopyFrames(first, count, target.data());
        for (std::size_t i = 0; i < count; ++i) {
          Check(std::memcmp(&target[i * shape.frame_bytes], frames[first + i].data(),
                            shape.frame_bytes) == 0,
                "frame", shape);
        }
      }
    }
  }
}

void TestWhatStandsStillTakesNoLines() {
  const BlockShape shape{.frame_bytes = 4096, .row_size = 1, .max_steps = 4};
  BlockWriter writer(shape);
  const Bytes frame(shape.frame_bytes, 7);
  const std::size_t one = Write(writer, {frame}, 1).size();
  const std::size_t four = Write(writer, {frame, frame, frame, frame}, 4).size();
  Check(four - one == 3 * (shape.bitmap_words() * 8 + 4), "still frames", shape);
}

void TestRowsOfOneColourAreKeptOnce() {
  const BlockShape shape{.frame_bytes = 4096, .row_size = 1, .max_steps = 2, .pitch = 64};
  BlockWriter writer(shape);
  Bytes frame(shape.frame_bytes, 7);
  const std::size_t empty = shape.max_bytes(1) - shape.frame_bytes;
  Check(Write(writer, {frame}, 1).size() == empty + shape.pitch, "first row only", shape);
  frame[1000] = 8;  // its line, and that of the row below, which is different from it
  Check(Write(writer, {frame}, 1).size() == empty + shape.pitch + 16, "two lines more", shape);
}

void TestDamage(const BlockShape& shape) {
  BlockWriter writer(shape);
  const Bytes block = Write(writer, Frames(shape, 20), shape.max_steps);
  Bytes target(shape.max_steps * shape.frame_bytes);
  std::size_t num_refused = 0;
  constexpr std::size_t kTries = 2000;
  for (std::size_t i = 0; i < kTries; ++i) {
    Bytes damaged = block;
    for (std::size_t hits = 1 + Below(3); hits > 0; --hits) {
      damaged[Below(damaged.size())] = static_cast<std::uint8_t>(Below(256));
    }
    if (Below(3) == 0) damaged.resize(Below(damaged.size()));
    damaged.shrink_to_fit();
    try {
      const BlockReader reader(shape, damaged);
      reader.CopyFrames(0, reader.num_steps(), target.data());
    } catch (const std::invalid_argument&) {
      ++num_refused;
    }
  }
  Check(num_refused > kTries / 4 && num_refused < kTries, "damage refused", shape);
}

}  // namespace

int main() {
  for (const std::size_t frame_bytes : {1, 7, 8, 9, 16, 20, 511, 512, 513, 700, 1024, 1500}) {
    for (const std::size_t num_changes : {0, 1, 10, 2000}) {
      for (const std::size_t pitch : {0, 8, 16, 96, 520, 2000}) {
        TestRoundTrip({.frame_bytes = frame_bytes, .row_size = 3, .max_steps = 5, .pitch = pitch},
                      num_changes);
      }
    }
  }
  TestWhatStandsStillTakesNoLines();
  TestRowsOfOneColourAreKeptOnce();
  TestDamage({.frame_bytes = 700, .row_size = 9, .max_steps = 6});
  TestDamage({.frame_bytes = 700, .row_size = 9, .max_steps = 6, .pitch = 56});
  std::printf("step blocks: all good\n");
}
