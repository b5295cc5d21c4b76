#include "mcts/softmax.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "check.h"
#include "mcts/lanes.h"

namespace mcts {
namespace {

using testing::ExpectEqual;
using testing::ExpectNear;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

void ExponentialIsCloseToDoublePrecision() {
  for (int i = 0; i < 87'000; ++i) {
    const float x = -0.001F * static_cast<float>(i);
    const double exact = std::exp(static_cast<double>(x));
    ExpectNear(ExpOfNonPositive(Broadcast(x))[3] / exact, 1.0, 2e-7);
  }
  ExpectEqual(ExpOfNonPositive(Broadcast(0.0F))[0], 1.0F);
  ExpectEqual(ExpOfNonPositive(Broadcast(-kInfinity))[0], ExpOfNonPositive(Broadcast(-87.0F))[0]);
}

void LaneSumsFoldAtDistanceFourTwoOne() {
  const FloatLanes v = {1e8F, 1.0F, 0.0F, 0.0F, -1e8F, 1.0F, 0.0F, 0.0F};
  ExpectEqual(SumOfLanes(v), 2.0F);  // in plain order it would be 1
  ExpectEqual(MaxOfLanes(FloatLanes{0, 1, 2, 3, 4, 9, 6, 7}), 9.0F);
}

void SoftmaxMatchesHandComputedNumbers() {
  // exp(0), exp(ln 2), exp(ln 4) and one illegal action between them.
  const std::vector<float> logits = {0.0F, 50.0F, std::log(2.0F), std::log(4.0F)};
  const std::vector<std::uint8_t> legal = {1, 0, 1, 1};
  std::vector<float> prior(8), weight(8);
  Softmax(logits, legal, prior, weight);
  ExpectNear(prior[0], 1.0 / 7.0, 1e-7);
  ExpectEqual(prior[1], 0.0F);
  ExpectNear(prior[2], 2.0 / 7.0, 1e-7);
  ExpectNear(prior[3], 4.0 / 7.0, 1e-7);
  for (const std::size_t action : {1U, 4U, 5U, 6U, 7U}) {
    ExpectEqual(prior[action], 0.0F);
    ExpectEqual(weight[action], -kInfinity);
  }
  ExpectEqual(weight[3], prior[3]);
}

void HugeLogitsDoNotOverflow() {
  const std::vector<float> logits = {1e25F, -1e25F};
  std::vector<float> prior(8), weight(8);
  Softmax(logits, {}, prior, weight);
  ExpectEqual(prior[0], 1.0F);
  ExpectNear(prior[1], 0.0, 1e-37);
}

void NoiseIsRescaledOverLegalActions() {
  const std::vector<float> logits = {0.0F, 0.0F, 0.0F};
  const std::vector<float> noise = {0.1F, 0.6F, 0.3F};
  const std::vector<std::uint8_t> legal = {1, 0, 1};
  std::vector<float> prior(8), weight(8);
  Softmax(logits, legal, prior, weight);
  MixNoise(noise, legal, 0.25F, prior, weight);
  ExpectNear(prior[0], 0.75 * 0.5 + 0.25 * 0.25, 1e-7);
  ExpectEqual(prior[1], 0.0F);
  ExpectNear(prior[2], 0.75 * 0.5 + 0.25 * 0.75, 1e-7);
  ExpectEqual(weight[0], prior[0]);
  ExpectEqual(weight[1], -kInfinity);
}

}  // namespace
}  // namespace mcts

int main() {
  mcts::ExponentialIsCloseToDoublePrecision();
  mcts::LaneSumsFoldAtDistanceFourTwoOne();
  mcts::SoftmaxMatchesHandComputedNumbers();
  mcts::HugeLogitsDoNotOverflow();
  mcts::NoiseIsRescaledOverLegalActions();
}
