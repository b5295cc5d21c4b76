// Runs searches on numbers drawn beforehand, for a profiler to look at:
//   tree_cost puct|gumbel SIMULATIONS ACTIONS TREES SEARCHES REUSED
// With REUSED > 0 each search starts from that many nodes of the one before, at the most.
// tests/count_instructions.py counts what one search takes.

#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <numeric>
#include <string_view>
#include <vector>

#include "mcts/tree_batch.h"

namespace mcts {
namespace {

// About normal: the sum of four uniform numbers.
std::vector<float> Numbers(std::size_t count, float scale, CounterRandom& random) {
  std::vector<float> numbers(count);
  for (float& x : numbers) {
    double sum = -2.0;
    for (int i = 0; i < 4; ++i) sum += random.Uniform();
    x = scale * static_cast<float>(sum * 1.732);
  }
  return numbers;
}

int Run(Algorithm algorithm, int num_simulations, int num_actions, int num_trees, int num_searches,
        int max_reused_nodes) {
  CounterRandom random(1);
  const auto nodes = static_cast<std::size_t>(num_simulations) + 1;
  const auto trees = static_cast<std::size_t>(num_trees);
  const std::size_t cells = trees * static_cast<std::size_t>(num_actions);
  const auto logits = Numbers(nodes * cells, 1.0F, random);
  const auto values = Numbers(nodes * trees, 1.0F, random);
  const auto prefixes = Numbers(nodes * trees, 0.1F, random);
  std::vector<std::uint64_t> seeds(trees);
  std::iota(seeds.begin(), seeds.end(), 0U);
  TreeBatch batch(num_trees, num_actions, num_simulations, {.algorithm = algorithm}, seeds, 1,
                  max_reused_nodes);
  const bool reuses_nodes = max_reused_nodes > 0;
  std::vector<std::int32_t> num_kept(trees);
  std::vector<std::int32_t> old_nodes(trees * (static_cast<std::size_t>(max_reused_nodes) + 1));
  std::vector<std::int32_t> parents(trees), actions(trees);
  std::vector<std::uint8_t> resets(trees);
  const auto row = [](const std::vector<float>& numbers, int index, std::size_t length) {
    return std::span(numbers).subspan(static_cast<std::size_t>(index) * length, length);
  };
  for (int search = 0; search < num_searches; ++search) {
    if (!reuses_nodes) batch.Reset(seeds);  // every search is the same
    batch.ExpandRoots({.policy_logits = row(logits, 0, cells),
                       .values = row(values, 0, trees),
                       .reuses_nodes = reuses_nodes && search > 0});
    for (int node = 1; node <= num_simulations; ++node) {
      batch.SelectLeaves(parents, actions, resets);
      batch.Backup(row(prefixes, node, trees), row(values, node, trees), row(logits, node, cells));
    }
    batch.BestActions(actions);
    if (reuses_nodes) batch.Advance(actions, old_nodes, num_kept);
  }
  return std::accumulate(actions.begin(), actions.end(), 0);
}

}  // namespace
}  // namespace mcts

int main(int argc, char** argv) {
  if (argc != 7) {
    std::cerr << "got " << argc - 1 << " arguments, wanted 6: see tree_cost.cc\n";
    return 2;
  }
  const auto algorithm =
      std::string_view(argv[1]) == "gumbel" ? mcts::Algorithm::kGumbel : mcts::Algorithm::kPuct;
  std::cout << mcts::Run(algorithm, std::atoi(argv[2]), std::atoi(argv[3]), std::atoi(argv[4]),
                         std::atoi(argv[5]), std::atoi(argv[6]))
            << "\n";
}
