#include "mcts/gumbel.h"

#include <numeric>
#include <vector>

#include "check.h"
#include "mcts/tree.h"

namespace mcts {
namespace {

using testing::ExpectEqual;
using testing::ExpectNear;

SearchParams Gumbel() { return {.discount = 1.0, .algorithm = Algorithm::kGumbel}; }

void HalvingGivesEveryPhaseTheSameBudget() {
  const GumbelConstants constants(4, 16, Gumbel());
  const std::vector<float> wanted = {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5};
  for (int i = 0; i < 16; ++i) {
    ExpectEqual(constants.ConsideredVisits(4, i), wanted[static_cast<std::size_t>(i)]);
  }
}

void OneConsideredActionGetsEveryVisit() {
  const GumbelConstants constants(4, 5, Gumbel());
  for (int i = 0; i < 5; ++i) ExpectEqual(constants.ConsideredVisits(1, i), static_cast<float>(i));
}

void MoreActionsThanSimulationsAreVisitedOnce() {
  const GumbelConstants constants(16, 8, Gumbel());
  for (int i = 0; i < 8; ++i) ExpectEqual(constants.ConsideredVisits(16, i), 0.0F);
}

void MinimumOverLanes() {
  ExpectEqual(MinOfLanes(FloatLanes{3, 1, 2, -7, 4, 9, 6, 7}), -7.0F);
  ExpectEqual(MinOfLanes(IntLanes{3, 1, 2, 7, 4, 9, 6, -2}), -2);
}

void BothOfTwoAreSummedAndCompared() {
  const FloatLanes a = {1, 2, 3, 4, 5, 6, 7, 8}, b = {-1, 9, -1, 2, 0, 0, 0, 1};
  ExpectEqual(SumsOfLanes(a, b) == std::pair(36.0F, 10.0F), true);
  ExpectEqual(MaximaOfLanes(a, b) == std::pair(8.0F, 9.0F), true);
}

void OneLaneIsStored() {
  std::vector<float> row(16, 0.0F);
  StoreLane(3.0F, row.data(), 10);
  for (std::size_t i = 0; i < 16; ++i) ExpectEqual(row[i], i == 10 ? 3.0F : 0.0F);
}

// Priors 1/4 and 3/4 (logits 0 and ln 3), Q of the first action 2, network's value 5, one visit:
// mixed value (5 + 1 * 2) / 2 = 3.5. Scale (50 + 1) * 0.1 over the range.
void UnvisitedActionsGetTheMixedValue() {
  const BlockLayout layout(2);
  std::vector<CacheLine> memory(layout.lines_per_block());
  const NodeBlock block = layout.Block(memory.data(), 0);
  std::fill_n(block.q, layout.padded_actions(), std::numeric_limits<float>::quiet_NaN());
  std::fill_n(block.prior, layout.padded_actions(), 0.0F);
  block.prior[0] = 0.25F;
  block.prior[1] = 0.75F;
  block.q[0] = 2.0F;
  *block.header = {.q_base = 5.0F, .visits = 2, .child_visits = 1};
  const CompletedQ one_visited(GumbelConstants(2, 5, Gumbel()), layout, block, 1e-8F);
  ExpectEqual(one_visited.unvisited, 3.5F);
  ExpectEqual(one_visited.lowest, 2.0F);
  ExpectNear(one_visited.highest, 5.1, 1e-5);
  SearchParams raw = Gumbel();
  raw.normalize_q = false;
  ExpectNear(CompletedQ(GumbelConstants(2, 5, raw), layout, block, 1e-8F).highest, 5.1 * 1.5, 1e-5);
  // With a range of 6 in the tree, this node's of 1.5 stays a quarter.
  const CompletedQ in_tree(GumbelConstants(2, 5, Gumbel()), layout, block, 6.0F);
  ExpectNear(in_tree.highest, 5.1 / 4, 1e-5);
  block.q[1] = 6.0F;  // nothing is unvisited
  block.header->visits = 3;
  const CompletedQ all_visited(GumbelConstants(2, 5, Gumbel()), layout, block, 1e-8F);
  ExpectEqual(all_visited.unvisited, 2.0F);
  ExpectNear(all_visited.highest, 5.1, 1e-5);
}

}  // namespace
}  // namespace mcts

int main() {
  mcts::HalvingGivesEveryPhaseTheSameBudget();
  mcts::OneConsideredActionGetsEveryVisit();
  mcts::MoreActionsThanSimulationsAreVisitedOnce();
  mcts::MinimumOverLanes();
  mcts::BothOfTwoAreSummedAndCompared();
  mcts::OneLaneIsStored();
  mcts::UnvisitedActionsGetTheMixedValue();
}
