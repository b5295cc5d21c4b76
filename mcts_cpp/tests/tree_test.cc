#include "mcts/tree.h"

#include <cmath>
#include <vector>

#include "check.h"

namespace mcts {
namespace {

using testing::ExpectEqual;
using testing::ExpectNear;

// One tree with its memory.
struct TestTree {
  TestTree(int num_actions, int num_simulations, const SearchParams& params)
      : constants(num_actions, num_simulations, params),
        nodes(static_cast<std::size_t>(num_simulations) + 1),
        blocks(nodes * constants.layout.lines_per_block()),
        value_prefixes(nodes),
        path(nodes),
        tree({blocks.data(), value_prefixes.data(), path.data()}, 1) {}

  void ExpandRoot(const std::vector<float>& logits, float value) {
    tree.ExpandRoot(constants, {.policy_logits = logits, .value = value});
  }

  Leaf Simulate(float value_prefix, float value, const std::vector<float>& logits) {
    const Leaf leaf = tree.Select(constants);
    tree.Backup(constants, ++num_done, {value_prefix, value, logits});
    return leaf;
  }

  SearchConstants constants;
  std::size_t nodes;
  std::vector<CacheLine> blocks;
  std::vector<float> value_prefixes;
  std::vector<PathStep> path;
  Tree tree;
  int num_done = 0;
};

void RootCountsItsOwnPrediction() {
  TestTree test(2, 4, {.discount = 1.0});
  test.ExpandRoot({0.0F, 0.0F}, 3.0F);
  ExpectEqual(test.tree.Header(test.constants, 0).visits, 1);
  ExpectEqual(test.tree.Header(test.constants, 0).value_sum, 3.0F);
}

void PriorDecidesTheFirstDescent() {
  TestTree test(3, 4, {.discount = 1.0});
  test.ExpandRoot({0.0F, 2.0F, 1.0F}, 0.0F);
  const Leaf first = test.Simulate(0.0F, 0.0F, {0.0F, 0.0F, 5.0F});
  ExpectEqual(first.parent_node, 0);
  ExpectEqual(first.action, 1);
}

// Rewards 1, then prefixes 3 and 4 (differences 2 and 1), values 10, 20, 30, discount 0.5, one
// action. Root: value 5.
void ReturnsAreDiscountedOnTheWayUp() {
  TestTree test(1, 3, {.discount = 0.5});
  test.ExpandRoot({0.0F}, 5.0F);
  test.Simulate(1.0F, 10.0F, {0.0F});  // root gets 1 + 0.5 * 10 = 6
  test.Simulate(3.0F, 20.0F, {0.0F});  // node 1 gets 2 + 0.5 * 20 = 12, root 1 + 0.5 * 12 = 7
  test.Simulate(4.0F, 30.0F, {0.0F});  // node 2 gets 1 + 15 = 16, node 1 gets 10, root 6
  ExpectEqual(test.tree.Header(test.constants, 0).value_sum, 5.0F + 6.0F + 7.0F + 6.0F);
  ExpectEqual(test.tree.Header(test.constants, 1).value_sum, 10.0F + 12.0F + 10.0F);
  ExpectEqual(test.tree.Header(test.constants, 2).value_sum, 20.0F + 16.0F);
  ExpectEqual(test.tree.Header(test.constants, 3).value_sum, 30.0F);
  ExpectEqual(test.tree.Header(test.constants, 0).visits, 4);
  ExpectEqual(test.tree.max_depth(), 3);
}

// Q of the steps into nodes: 6; then 2 + 10 = 12 and 1 + 0.5 * 11 = 6.5.
void BoundsHoldEveryQOnceItIsComputed() {
  TestTree test(1, 2, {.discount = 0.5});
  test.ExpandRoot({0.0F}, 0.0F);
  test.Simulate(1.0F, 10.0F, {0.0F});
  ExpectEqual(test.tree.bounds().min(), 6.0F);
  ExpectEqual(test.tree.bounds().max(), 6.0F);
  test.Simulate(3.0F, 20.0F, {0.0F});
  ExpectEqual(test.tree.bounds().min(), 6.0F);
  ExpectEqual(test.tree.bounds().max(), 12.0F);
}

// Q of the steps into nodes: 6; then 1 + 0.5 * 6 = 4 and 2 + 0.5 * 0 = 2, and no 6 is left.
void RecomputedBoundsForgetQsThatMoved() {
  for (const bool recomputed : {false, true}) {
    TestTree test(1, 2, {.discount = 0.5, .recomputed_bounds = recomputed});
    test.ExpandRoot({0.0F}, 0.0F);
    test.Simulate(1.0F, 10.0F, {0.0F});
    ExpectEqual(test.tree.bounds().max(), 6.0F);
    test.Simulate(3.0F, 0.0F, {0.0F});  // node 1 got 2 + 0.5 * 0 = 2: its mean is 6
    ExpectEqual(test.tree.bounds().min(), 2.0F);
    ExpectEqual(test.tree.bounds().max(), recomputed ? 4.0F : 6.0F);
  }
}

void RewardsThemselvesWithoutValuePrefix() {
  TestTree test(1, 2, {.discount = 1.0, .use_value_prefix = false});
  test.ExpandRoot({0.0F}, 0.0F);
  test.Simulate(1.0F, 0.0F, {0.0F});
  test.Simulate(3.0F, 0.0F, {0.0F});
  ExpectEqual(test.tree.Header(test.constants, 2).reward, 3.0F);
}

void PrefixRestartsBelowMultiplesOfTheHorizon() {
  TestTree test(1, 5, {.discount = 1.0, .value_prefix_horizon = 2});
  test.ExpandRoot({0.0F}, 0.0F);
  for (int depth = 1; depth <= 5; ++depth) {
    const Leaf leaf = test.Simulate(static_cast<float>(depth * depth), 0.0F, {0.0F});
    ExpectEqual(leaf.resets_prefix, depth % 2 == 0);
  }
  const float wanted[] = {1.0F, 4.0F - 1.0F, 9.0F, 16.0F - 9.0F, 25.0F};
  for (int node = 1; node <= 5; ++node) {
    ExpectEqual(test.tree.Header(test.constants, node).reward, wanted[node - 1]);
  }
}

// 20 actions take three groups of eight; the last four lanes are padding.
void PaddingIsNeverSelected() {
  TestTree test(20, 200, {.discount = 0.9});
  const std::vector<float> logits(20, 0.0F);
  test.ExpandRoot(logits, 0.0F);
  for (int i = 0; i < 200; ++i) {
    const Leaf leaf = test.Simulate(0.0F, -100.0F, logits);
    ExpectEqual(leaf.action >= 0 && leaf.action < 20, true);
  }
}

void ExplorationFollowsTheFormula() {
  const SearchConstants constants(2, 10, {.pb_c_init = 1.25, .pb_c_base = 19652.0});
  ExpectEqual(constants.exploration[0], 0.0F);
  ExpectNear(constants.exploration[1], 1.25 + std::log(19654.0 / 19652.0), 1e-7);
  ExpectNear(constants.exploration[9], 3.0 * (1.25 + std::log(19662.0 / 19652.0)), 1e-6);
}

}  // namespace
}  // namespace mcts

int main() {
  mcts::RootCountsItsOwnPrediction();
  mcts::PriorDecidesTheFirstDescent();
  mcts::ReturnsAreDiscountedOnTheWayUp();
  mcts::BoundsHoldEveryQOnceItIsComputed();
  mcts::RecomputedBoundsForgetQsThatMoved();
  mcts::RewardsThemselvesWithoutValuePrefix();
  mcts::PrefixRestartsBelowMultiplesOfTheHorizon();
  mcts::PaddingIsNeverSelected();
  mcts::ExplorationFollowsTheFormula();
}
