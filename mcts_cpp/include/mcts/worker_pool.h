#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <vector>

namespace mcts {

// A few threads that help with loops. No locks: a loop is cut into chunks; each thread claims the
// chunks of its part one by one, then the remaining ones of other parts. So the caller never waits
// for a thread that has not woken up, only for chunks in progress. A part belongs to the same
// thread in every loop, whose cache then has its elements. Workers spin for some microseconds after
// a loop, because the next loop of a search comes soon, and then sleep.
//
// The cost of a loop is mostly cache lines that move between cores, so there are few: the loop
// itself is one line, written by the caller; each worker's part stays with the worker, unless
// others help it; one counter holds the number of chunks that the workers have done.
//
// One thread at a time may call Run. In a forked child there are no workers: Run does all itself.
class WorkerPool {
 public:
  // The caller of Run is one of the threads; 1: there are no workers.
  explicit WorkerPool(int num_threads);
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // Calls work(begin, end) for chunks that make up [0, size), from several threads, and returns
  // when all are done. Results must not depend on the order of chunks; `work` must not throw.
  template <typename Work>
  void Run(std::size_t size, Work&& work) {
    if (workers_.empty() || size < parts_.size() || IsForkedChild()) {
      work(std::size_t{0}, size);
      return;
    }
    using Callable = std::remove_reference_t<Work>;
    Share([](void* context, std::size_t begin,
             std::size_t end) { (*static_cast<Callable*>(context))(begin, end); },
          &work, size);
  }

 private:
  using Call = void (*)(void* context, std::size_t begin, std::size_t end);

  // Written by the caller of Run, `number` last. A worker that comes late may find the next loop
  // here: it reads `size` to claim a chunk, which fails then, and the others only afterwards, when
  // its chunk keeps Run from returning.
  struct alignas(64) Loop {
    std::atomic<std::uint32_t> number = 0;
    std::atomic<std::size_t> size = 0;
    Call call = nullptr;
    void* context = nullptr;
  };
  // Upper half: a loop's number; lower half: its unclaimed chunks. If the number is that of the
  // previous loop, no chunk of this one is claimed. Every part has a chunk in every loop, so a
  // number is never older than that.
  struct alignas(64) Part {
    std::atomic<std::uint64_t> unclaimed = 0;
  };

  bool IsForkedChild() const;
  void Stop();
  void Share(Call call, void* context, std::size_t size);
  // Both return the number of chunks that were run.
  std::uint32_t HelpWith(std::uint32_t loop_number, std::size_t own_part);
  std::uint32_t RunChunksOf(std::uint32_t loop_number, std::size_t part);
  void Work(std::size_t part);
  std::uint32_t NumChunks(std::size_t size, std::size_t part) const;

  Loop loop_;
  std::vector<Part> parts_;  // one a thread; the caller's is the first
  // By workers, in all loops so far; overflows.
  alignas(64) std::atomic<std::uint32_t> num_chunks_done_ = 0;
  // The same when the latest loop ended; the caller's.
  alignas(64) std::uint32_t num_chunks_done_at_last_ = 0;
  std::atomic<bool> is_stopping_ = false;
  std::uint32_t num_forks_;  // of this process, when the workers were started
  std::vector<std::thread> workers_;
};

}  // namespace mcts
