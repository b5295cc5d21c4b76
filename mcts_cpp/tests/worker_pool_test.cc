#include "mcts/worker_pool.h"

#include <chrono>
#include <cstddef>
#include <thread>
#include <vector>

#include "check.h"

namespace mcts {
namespace {

using testing::ExpectEqual;

void EveryElementIsVisitedOnceByAnyNumberOfThreads() {
  for (const int num_threads : {1, 2, 3, 7}) {
    WorkerPool pool(num_threads);
    for (const std::size_t size : {0U, 1U, 5U, 1000U}) {
      std::vector<int> visits(size, 0);
      for (int round = 0; round < 50; ++round) {
        pool.Run(size, [&visits](std::size_t begin, std::size_t end) {
          for (std::size_t i = begin; i < end; ++i) ++visits[i];
        });
      }
      for (const int count : visits) ExpectEqual(count, 50);
    }
  }
}

// Threads that come late to one loop find another one, of another size.
void LoopsOfOtherSizesFollowAtOnce() {
  WorkerPool pool(4);
  for (int round = 0; round < 2000; ++round) {
    std::vector<int> visits(round % 3 == 0 ? 5U : round % 3 == 1 ? 300U : 33U, 0);
    pool.Run(visits.size(), [&visits](std::size_t begin, std::size_t end) {
      for (std::size_t i = begin; i < end; ++i) ++visits[i];
    });
    for (const int count : visits) ExpectEqual(count, 1);
  }
}

void SleepingWorkersWakeUp() {
  WorkerPool pool(3);
  std::vector<int> visits(3, 0);
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    pool.Run(visits.size(), [&visits](std::size_t begin, std::size_t end) {
      if (begin == 2) std::this_thread::sleep_for(std::chrono::milliseconds(5));
      for (std::size_t i = begin; i < end; ++i) ++visits[i];
    });
  }
  for (const int count : visits) ExpectEqual(count, 5);
}

void UnusedPoolsEnd() {
  for (int i = 0; i < 50; ++i) WorkerPool pool(4);
}

}  // namespace
}  // namespace mcts

int main() {
  mcts::EveryElementIsVisitedOnceByAnyNumberOfThreads();
  mcts::LoopsOfOtherSizesFollowAtOnce();
  mcts::SleepingWorkersWakeUp();
  mcts::UnusedPoolsEnd();
}
