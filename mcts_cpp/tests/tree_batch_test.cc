#include "mcts/tree_batch.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <numeric>
#include <thread>
#include <vector>

#include "check.h"

namespace mcts {
namespace {

using testing::ExpectEqual;
using testing::ExpectRefused;

// Numbers in [-1, 1) that depend on the seed and the position only.
std::vector<float> Numbers(std::size_t count, std::uint64_t seed) {
  std::vector<float> numbers(count);
  std::uint64_t state = seed * 2 + 1;
  for (float& x : numbers) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    x = static_cast<float>(state >> 40U) / 8388608.0F - 1.0F;
  }
  return numbers;
}

// Exactly as large as the caller promises, so that sanitizers see every byte beyond.
struct Buffers {
  explicit Buffers(std::size_t num_trees)
      : parent_nodes(num_trees), actions(num_trees), resets_prefix(num_trees) {}
  std::vector<std::int32_t> parent_nodes;
  std::vector<std::int32_t> actions;
  std::vector<std::uint8_t> resets_prefix;
};

std::vector<std::int32_t> Search(TreeBatch& batch, std::uint64_t seed, bool reuse = false) {
  const auto trees = static_cast<std::size_t>(batch.num_trees());
  const std::size_t cells = trees * static_cast<std::size_t>(batch.num_actions());
  Buffers buffers(trees);
  batch.ExpandRoots({.policy_logits = Numbers(cells, seed),
                     .values = Numbers(trees, seed),
                     .reuses_nodes = reuse});
  for (int i = 0; i < batch.num_simulations(); ++i) {
    const std::uint64_t step = seed + 7U + static_cast<std::uint64_t>(i);
    batch.SelectLeaves(buffers.parent_nodes, buffers.actions, buffers.resets_prefix);
    batch.Backup(Numbers(trees, step), Numbers(trees, step + 100), Numbers(cells, step));
  }
  std::vector<std::int32_t> visit_counts(cells);
  batch.VisitCounts(visit_counts);
  return visit_counts;
}

void VisitCountsSumToSimulationsAtEverySize() {
  for (const int num_actions : {1, 7, 8, 9, 18, 24, 1024}) {
    const std::vector<std::uint64_t> seeds = {3, 4, 5};
    TreeBatch batch(3, num_actions, 40, {}, seeds);
    const auto visit_counts = Search(batch, 11);
    ExpectEqual(std::accumulate(visit_counts.begin(), visit_counts.end(), 0), 3 * 40);
    std::vector<float> root_values(3);
    std::vector<float> child_q(visit_counts.size());
    std::vector<std::int32_t> depths(3);
    batch.RootValues(root_values);
    batch.ChildQ(child_q);
    batch.SearchDepths(depths);
    ExpectEqual(depths[2] >= 1 && depths[2] <= 40, true);
  }
}

void AnyNumberOfThreadsFindsTheSame() {
  std::vector<std::uint64_t> seeds(100);
  std::iota(seeds.begin(), seeds.end(), 1U);
  for (const Algorithm algorithm : {Algorithm::kPuct, Algorithm::kGumbel}) {
    const SearchParams params{.algorithm = algorithm};
    TreeBatch alone(100, 5, 30, params, seeds);
    const auto wanted = Search(alone, 9);
    for (const int num_threads : {2, 3, 6, 256}) {
      TreeBatch batch(100, 5, 30, params, seeds, num_threads);
      ExpectEqual(batch.num_threads(), std::min(num_threads, 6));
      ExpectEqual(Search(batch, 9) == wanted, true);
    }
  }
}

// Five moves of a game, each search from the nodes kept by the previous one.
std::vector<std::int32_t> ReusingSearches(TreeBatch& batch) {
  const auto trees = static_cast<std::size_t>(batch.num_trees());
  const auto row = static_cast<std::size_t>(batch.max_reused_nodes()) + 1;
  std::vector<std::int32_t> best(trees), old_nodes(trees * row), num_kept(trees), found;
  for (std::uint64_t move = 0; move < 5; ++move) {
    const auto visits = Search(batch, 30 * move, move > 0);
    batch.BestActions(best);
    batch.Advance(best, old_nodes, num_kept);
    found.insert(found.end(), visits.begin(), visits.end());
    found.insert(found.end(), old_nodes.begin(), old_nodes.end());
  }
  return found;
}

void AnyNumberOfThreadsReusesTheSame() {
  std::vector<std::uint64_t> seeds(64);
  std::iota(seeds.begin(), seeds.end(), 1U);
  for (const Algorithm algorithm : {Algorithm::kPuct, Algorithm::kGumbel}) {
    const SearchParams params{.algorithm = algorithm};
    TreeBatch alone(64, 5, 20, params, seeds, 1, 12);
    const auto wanted = ReusingSearches(alone);
    for (const int num_threads : {2, 4}) {
      TreeBatch batch(64, 5, 20, params, seeds, num_threads, 12);
      ExpectEqual(ReusingSearches(batch) == wanted, true);
    }
  }
}

void TwoBatchesRunInTwoThreads() {
  const std::vector<std::uint64_t> seeds(64, 3U);
  const auto search = [&seeds](std::vector<std::int32_t>& result) {
    TreeBatch batch(64, 5, 30, {}, seeds, 2);
    result = Search(batch, 9);
  };
  std::vector<std::int32_t> first, second;
  std::thread other(search, std::ref(first));
  search(second);
  other.join();
  ExpectEqual(first == second, true);
}

void ResetRepeatsTheSearch() {
  const std::vector<std::uint64_t> seeds = {1, 2};
  TreeBatch batch(2, 4, 30, {}, seeds);
  const auto first = Search(batch, 5);
  Search(batch, 6);
  batch.Reset(seeds);
  ExpectEqual(Search(batch, 5) == first, true);
}

void ManySimulationsOfOneActionMakeOneChain() {
  const std::vector<std::uint64_t> seeds = {1};
  TreeBatch batch(1, 1, 3000, {}, seeds);
  ExpectEqual(Search(batch, 5)[0], 3000);
  std::vector<std::int32_t> depths(1);
  batch.SearchDepths(depths);
  ExpectEqual(depths[0], 3000);
}

void LargestAllowedNumbersStayFinite() {
  const std::vector<std::uint64_t> seeds = {1};
  TreeBatch batch(1, 3, 300, {.discount = 1.0, .value_prefix_horizon = 300}, seeds);
  Buffers buffers(1);
  const std::vector<float> high = {1e25F}, low = {-1e25F}, logits = {1e25F, -1e25F, 0.0F};
  batch.ExpandRoots({.policy_logits = logits, .values = high});
  for (int i = 0; i < 300; ++i) {
    batch.SelectLeaves(buffers.parent_nodes, buffers.actions, buffers.resets_prefix);
    batch.Backup(i % 2 == 0 ? high : low, i % 3 == 0 ? high : low, logits);
  }
  std::vector<float> root_values(1);
  batch.RootValues(root_values);
  ExpectEqual(std::isfinite(root_values[0]), true);
}

void WrongOrderIsRefused() {
  const std::vector<std::uint64_t> seeds = {1};
  TreeBatch batch(1, 2, 1, {}, seeds);
  Buffers buffers(1);
  const std::vector<float> one(1), two(2);
  const auto select = [&] {
    batch.SelectLeaves(buffers.parent_nodes, buffers.actions, buffers.resets_prefix);
  };
  ExpectRefused(select, "wanted expand_roots first");
  batch.ExpandRoots({.policy_logits = two, .values = one});
  ExpectRefused([&] { batch.Backup(one, one, two); }, "wanted select_leaves first");
  select();
  ExpectRefused(select, "wanted backup first");
  batch.Backup(one, one, two);
  ExpectRefused(select, "got simulation 2, wanted at most 1");
}

void BadNumbersAreRefused() {
  const std::vector<std::uint64_t> seeds = {1};
  TreeBatch batch(1, 2, 1, {}, seeds);
  const std::vector<float> one(1), two(2);
  const std::vector<float> nan = {0.0F, std::numeric_limits<float>::quiet_NaN()};
  const std::vector<std::uint8_t> none_legal = {0, 0};
  ExpectRefused([&] { batch.ExpandRoots({.policy_logits = nan, .values = one}); },
                "policy_logits: got nan");
  ExpectRefused([&] { batch.ExpandRoots({two, one, {}, none_legal}); }, "got none in row 0");
  ExpectRefused([&] { TreeBatch(1, 2, 0, {}, seeds); }, "num_simulations: got 0");
  ExpectRefused([&] { TreeBatch(1, 2, 1, {.discount = 2.0}, seeds); }, "discount: got 2");
}

void KeptNodesStayWithinTheirRoom() {
  constexpr std::size_t kTrees = 3;
  const std::vector<std::uint64_t> seeds = {3, 4, 5};
  const std::vector<std::uint8_t> legal = {1, 1, 0, 1, 1, 1, 1, 1, 1};
  for (const Algorithm algorithm : {Algorithm::kPuct, Algorithm::kGumbel}) {
    for (const int most_nodes : {1, 5, 200}) {
      TreeBatch batch(kTrees, 3, 40, {.algorithm = algorithm}, seeds, 1, most_nodes);
      const auto row = static_cast<std::size_t>(most_nodes) + 1;
      std::vector<std::int32_t> best(kTrees), old_nodes(kTrees * row), num_kept(kTrees);
      std::vector<std::int32_t> visits(kTrees * 3), new_nodes(kTrees);
      Buffers buffers(kTrees);
      for (std::uint64_t move = 0; move < 8; ++move) {
        batch.ExpandRoots({.policy_logits = Numbers(kTrees * 3, move),
                           .values = Numbers(kTrees, move),
                           .legal_actions = legal,
                           .reuses_nodes = move > 0});
        for (std::uint64_t i = 0; i < 40; ++i) {
          const std::uint64_t step = 100 * move + i;
          batch.SelectLeaves(buffers.parent_nodes, buffers.actions, buffers.resets_prefix,
                             new_nodes);
          batch.Backup(Numbers(kTrees, step), Numbers(kTrees, step + 50), Numbers(9, step));
        }
        batch.VisitCounts(visits);
        for (std::size_t tree = 0; tree < kTrees; ++tree) {
          const auto begin = visits.begin() + static_cast<std::ptrdiff_t>(3 * tree);
          ExpectEqual(std::accumulate(begin, begin + 3, 0), new_nodes[tree]);
        }
        batch.BestActions(best);
        batch.Advance(best, old_nodes, num_kept, legal);
        ExpectEqual(*std::max_element(num_kept.begin(), num_kept.end()) <= most_nodes + 1, true);
      }
    }
  }
}

}  // namespace
}  // namespace mcts

int main() {
  mcts::AnyNumberOfThreadsFindsTheSame();
  mcts::AnyNumberOfThreadsReusesTheSame();
  mcts::TwoBatchesRunInTwoThreads();
  mcts::VisitCountsSumToSimulationsAtEverySize();
  mcts::ResetRepeatsTheSearch();
  mcts::ManySimulationsOfOneActionMakeOneChain();
  mcts::LargestAllowedNumbersStayFinite();
  mcts::WrongOrderIsRefused();
  mcts::BadNumbersAreRefused();
  mcts::KeptNodesStayWithinTheirRoom();
}
