#include "mcts/worker_pool.h"

#include <unistd.h>

#include <algorithm>

namespace mcts {
namespace {

constexpr std::size_t kChunk = 8;  // elements; a tree takes about a tenth of a microsecond
constexpr int kSpins = 2000;       // 20 to 80 microseconds

inline void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Returns the first value that is not `old`.
std::uint32_t WaitForChange(const std::atomic<std::uint32_t>& value, std::uint32_t old) {
  for (int spin = 0; spin < kSpins; ++spin) {
    const std::uint32_t now = value.load(std::memory_order_acquire);
    if (now != old) return now;
    Pause();
  }
  value.wait(old, std::memory_order_acquire);
  return value.load(std::memory_order_acquire);
}

// Part p of `num_parts` is [PartBegin(p), PartBegin(p + 1)).
std::size_t PartBegin(std::size_t size, std::size_t part, std::size_t num_parts) {
  return size * part / num_parts;
}

}  // namespace

WorkerPool::WorkerPool(int num_threads)
    : parts_(static_cast<std::size_t>(num_threads)), process_(getpid()) {
  try {
    for (std::size_t part = 1; part < parts_.size(); ++part) {
      workers_.emplace_back(&WorkerPool::Work, this, part);
    }
  } catch (...) {  // the system has no more threads
    Stop();
    throw;
  }
}

WorkerPool::~WorkerPool() {
  if (IsForkedChild()) {
    for (std::thread& worker : workers_) worker.detach();
    return;
  }
  Stop();
}

void WorkerPool::Stop() {
  is_stopping_ = true;
  loop_number_.fetch_add(1, std::memory_order_release);
  loop_number_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

bool WorkerPool::IsForkedChild() const { return getpid() != process_; }

void WorkerPool::Share(const Loop& loop) {
  loop_ = loop;
  const std::uint32_t number = loop_number_.load(std::memory_order_relaxed) + 1;
  const auto num_chunks = [&](std::size_t part) {
    const std::size_t length =
        PartBegin(loop.size, part + 1, parts_.size()) - PartBegin(loop.size, part, parts_.size());
    return static_cast<std::uint32_t>((length + kChunk - 1) / kChunk);
  };
  std::uint32_t total = 0;
  for (std::size_t part = 0; part < parts_.size(); ++part) total += num_chunks(part);
  num_unfinished_.store(total, std::memory_order_relaxed);
  for (std::size_t part = 0; part < parts_.size(); ++part) {
    const std::uint64_t unclaimed = std::uint64_t{number} << 32U | num_chunks(part);
    parts_[part].unclaimed.store(unclaimed, std::memory_order_release);
  }
  loop_number_.store(number, std::memory_order_release);
  loop_number_.notify_all();
  HelpWith(number, 0);
  for (auto left = num_unfinished_.load(std::memory_order_acquire); left != 0;) {
    left = WaitForChange(num_unfinished_, left);
  }
}

void WorkerPool::HelpWith(std::uint32_t loop_number, std::size_t own_part) {
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    const std::size_t part = (own_part + i) % parts_.size();
    while (ClaimAndRunChunk(loop_number, part)) {
    }
  }
}

bool WorkerPool::ClaimAndRunChunk(std::uint32_t loop_number, std::size_t part) {
  std::atomic<std::uint64_t>& unclaimed = parts_[part].unclaimed;
  std::uint64_t seen = unclaimed.load(std::memory_order_acquire);
  do {
    const bool is_other_loop = seen >> 32U != loop_number;
    const bool is_empty = (seen & 0xFFFFFFFFU) == 0;
    if (is_other_loop || is_empty) return false;
  } while (!unclaimed.compare_exchange_weak(seen, seen - 1, std::memory_order_acquire));
  const std::size_t chunk = (seen & 0xFFFFFFFFU) - 1;
  const std::size_t begin = PartBegin(loop_.size, part, parts_.size()) + chunk * kChunk;
  const std::size_t end = std::min(begin + kChunk, PartBegin(loop_.size, part + 1, parts_.size()));
  loop_.call(loop_.context, begin, end);
  // The last one wakes the caller, should it sleep.
  if (num_unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1) num_unfinished_.notify_one();
  return true;
}

void WorkerPool::Work(std::size_t part) {
  for (std::uint32_t seen = 0;;) {
    seen = WaitForChange(loop_number_, seen);
    if (is_stopping_) return;
    HelpWith(seen, part);
  }
}

}  // namespace mcts
