#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <vector>

namespace mcts {

// A few threads that help with loops. No locks: a loop is cut into chunks, each thread claims those
// of its own part one by one, then those left over in other parts. So the caller never waits for a
// thread that has not woken up, only for chunks that are being worked on. Workers spin for some
// microseconds after a loop, because the next one of a search comes soon, and then sleep.
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
    if (workers_.empty() || IsForkedChild()) {
      work(std::size_t{0}, size);
      return;
    }
    using Callable = std::remove_reference_t<Work>;
    Share({[](void* context, std::size_t begin, std::size_t end) {
             (*static_cast<Callable*>(context))(begin, end);
           },
           &work, size});
  }

 private:
  struct Loop {
    void (*call)(void* context, std::size_t begin, std::size_t end) = nullptr;
    void* context = nullptr;
    std::size_t size = 0;
  };
  // Upper half: the loop's number; lower half: chunks nobody has claimed yet. The number keeps a
  // thread that comes late from claiming anything of a loop it knows nothing of.
  struct alignas(64) Part {
    std::atomic<std::uint64_t> unclaimed = 0;
  };

  bool IsForkedChild() const;
  void Stop();
  void Share(const Loop& loop);
  void HelpWith(std::uint32_t loop_number, std::size_t own_part);
  bool ClaimAndRunChunk(std::uint32_t loop_number, std::size_t part);
  void Work(std::size_t part);

  // Written by the caller of Run before it fills the parts; read after a chunk was claimed, which
  // keeps Run from returning.
  Loop loop_;
  std::vector<Part> parts_;  // one a thread; the caller's is the first
  std::atomic<bool> is_stopping_ = false;
  alignas(64) std::atomic<std::uint32_t> loop_number_ = 0;
  alignas(64) std::atomic<std::uint32_t> num_unfinished_ = 0;  // chunks
  pid_t process_;
  std::vector<std::thread> workers_;
};

}  // namespace mcts
