#include "mcts/min_max_stats.h"

#include "check.h"

namespace mcts {
namespace {

using testing::ExpectEqual;

float Normalised(const MinMaxStats& stats, float q, float value_delta_max) {
  const QScale scale = stats.Scale(value_delta_max);
  return (q - scale.offset) * scale.scale;
}

void RawQWhileNothingWasSeen() { ExpectEqual(Normalised(MinMaxStats(), 0.7F, 0.01F), 0.7F); }

void RawQWhileAllQsAreEqual() {
  MinMaxStats stats;
  stats.Update(5.0F);
  stats.Update(5.0F);
  ExpectEqual(Normalised(stats, 0.7F, 0.01F), 0.7F);
}

void BoundsMapToZeroAndOne() {
  MinMaxStats stats;
  for (const float q : {3.0F, -1.0F, 2.0F}) stats.Update(q);
  ExpectEqual(stats.min(), -1.0F);
  ExpectEqual(stats.max(), 3.0F);
  ExpectEqual(Normalised(stats, -1.0F, 0.01F), 0.0F);
  ExpectEqual(Normalised(stats, 0.0F, 0.01F), 0.25F);
  ExpectEqual(Normalised(stats, 3.0F, 0.01F), 1.0F);
}

void SmallRangesAreNotBlownUp() {
  MinMaxStats stats;
  stats.Update(0.0F);
  stats.Update(0.25F);
  ExpectEqual(Normalised(stats, 0.25F, 0.5F), 0.5F);
}

}  // namespace
}  // namespace mcts

int main() {
  mcts::RawQWhileNothingWasSeen();
  mcts::RawQWhileAllQsAreEqual();
  mcts::BoundsMapToZeroAndOne();
  mcts::SmallRangesAreNotBlownUp();
}
