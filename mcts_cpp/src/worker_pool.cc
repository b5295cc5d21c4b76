#include "mcts/worker_pool.h"

#include <pthread.h>

#include <algorithm>
#include <system_error>

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

// Forks between the start of the program and this process. Counted, because a call of getpid takes
// as long as a small loop.
std::atomic<std::uint32_t> num_forks = 0;

std::uint32_t CountedForks() {
  static const int error =
      pthread_atfork(nullptr, nullptr, [] { num_forks.fetch_add(1, std::memory_order_relaxed); });
  if (error != 0) throw std::system_error(error, std::generic_category(), "pthread_atfork");
  return num_forks.load(std::memory_order_relaxed);
}

}  // namespace

WorkerPool::WorkerPool(int num_threads)
    : parts_(static_cast<std::size_t>(num_threads)), num_forks_(CountedForks()) {
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
  loop_.number.fetch_add(1);
  loop_.number.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

bool WorkerPool::IsForkedChild() const {
  return num_forks.load(std::memory_order_relaxed) != num_forks_;
}

void WorkerPool::Share(Call call, void* context, std::size_t size) {
  const std::uint32_t number = loop_.number.load(std::memory_order_relaxed) + 1;
  loop_.size.store(size, std::memory_order_relaxed);
  loop_.call = call;
  loop_.context = context;
  loop_.number.store(number);  // sequentially consistent: before the look for sleepers
  loop_.number.notify_all();
  std::uint32_t num_chunks = 0;
  for (std::size_t part = 0; part < parts_.size(); ++part) num_chunks += NumChunks(size, part);
  const std::uint32_t wanted = num_chunks_done_at_last_ + num_chunks - HelpWith(number, 0);
  for (auto done = num_chunks_done_.load(std::memory_order_acquire); done != wanted;) {
    done = WaitForChange(num_chunks_done_, done);
  }
  num_chunks_done_at_last_ = wanted;
}

std::uint32_t WorkerPool::HelpWith(std::uint32_t loop_number, std::size_t own_part) {
  std::uint32_t num_run = 0;
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    num_run += RunChunksOf(loop_number, (own_part + i) % parts_.size());
  }
  return num_run;
}

std::uint32_t WorkerPool::RunChunksOf(std::uint32_t loop_number, std::size_t part) {
  const std::size_t size = loop_.size.load(std::memory_order_relaxed);
  const std::size_t part_begin = PartBegin(size, part, parts_.size());
  const std::size_t part_end = PartBegin(size, part + 1, parts_.size());
  const std::uint32_t num_chunks = NumChunks(size, part);
  std::atomic<std::uint64_t>& unclaimed = parts_[part].unclaimed;
  std::uint64_t seen = unclaimed.load(std::memory_order_relaxed);
  for (std::uint32_t num_run = 0;;) {
    const auto number = static_cast<std::uint32_t>(seen >> 32U);
    const auto left = number == loop_number ? static_cast<std::uint32_t>(seen) : num_chunks;
    const bool is_late = number != loop_number && number != loop_number - 1;
    if (is_late || left == 0) return num_run;
    const std::uint64_t claimed = std::uint64_t{loop_number} << 32U | (left - 1);
    if (!unclaimed.compare_exchange_weak(seen, claimed, std::memory_order_relaxed)) continue;
    seen = claimed;
    const std::size_t begin = part_begin + (num_chunks - left) * kChunk;
    loop_.call(loop_.context, begin, std::min(begin + kChunk, part_end));
    ++num_run;
  }
}

void WorkerPool::Work(std::size_t part) {
  for (std::uint32_t seen = 0;;) {
    seen = WaitForChange(loop_.number, seen);
    if (is_stopping_) return;
    const std::uint32_t num_run = HelpWith(seen, part);
    if (num_run == 0) continue;
    num_chunks_done_.fetch_add(num_run, std::memory_order_acq_rel);
    num_chunks_done_.notify_one();  // the caller, if it sleeps
  }
}

std::uint32_t WorkerPool::NumChunks(std::size_t size, std::size_t part) const {
  const std::size_t length =
      PartBegin(size, part + 1, parts_.size()) - PartBegin(size, part, parts_.size());
  return static_cast<std::uint32_t>((length + kChunk - 1) / kChunk);
}

}  // namespace mcts
