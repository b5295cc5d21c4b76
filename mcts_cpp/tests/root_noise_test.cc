#include "mcts/root_noise.h"

#include <cmath>
#include <cstdint>
#include <vector>

#include "check.h"

namespace mcts {
namespace {

using testing::ExpectEqual;
using testing::ExpectNear;

// Dirichlet(a, ..., a) over n: mean 1/n, variance (n - 1) / (n^2 (n a + 1)). The bounds are five
// standard errors of 20,000 samples and more.
void DirichletHasItsMeanAndVariance() {
  for (const double alpha : {0.05, 0.3, 1.0, 4.0}) {
    CounterRandom random(7);
    const int num_samples = 20'000;
    std::vector<float> shares(5);
    double sum = 0.0, sum_of_squares = 0.0;
    for (int i = 0; i < num_samples; ++i) {
      DrawDirichlet(random, alpha, {}, shares);
      double total = 0.0;
      for (const float share : shares) total += static_cast<double>(share);
      ExpectNear(total, 1.0, 1e-6);
      sum += static_cast<double>(shares[2]);
      sum_of_squares += static_cast<double>(shares[2]) * static_cast<double>(shares[2]);
    }
    const double mean = sum / num_samples;
    ExpectNear(mean, 0.2, 0.014);
    ExpectNear(sum_of_squares / num_samples - mean * mean, 4.0 / (25.0 * (5.0 * alpha + 1.0)),
               0.006);
  }
}

void IllegalActionsGetNoNoiseAndTinyAlphaStillSumsToOne() {
  CounterRandom random(1);
  const std::vector<std::uint8_t> legal = {0, 1, 1};
  std::vector<float> shares(3);
  for (int i = 0; i < 1000; ++i) {
    DrawDirichlet(random, 1e-3, legal, shares);
    ExpectEqual(shares[0], 0.0F);
    ExpectNear(shares[1] + shares[2], 1.0, 1e-6);
  }
}

// Mean: Euler's constant; variance: pi^2 / 6.
void GumbelHasItsMeanAndVariance() {
  CounterRandom random(3);
  std::vector<float> samples(200'000);
  DrawGumbel(random, 1.0, samples);
  double sum = 0.0, sum_of_squares = 0.0;
  for (const float x : samples) {
    sum += static_cast<double>(x);
    sum_of_squares += static_cast<double>(x) * static_cast<double>(x);
  }
  const double mean = sum / 200'000.0;
  ExpectNear(mean, 0.577216, 0.015);
  ExpectNear(sum_of_squares / 200'000.0 - mean * mean, 1.644934, 0.05);
}

void UniformStaysInsideItsInterval() {
  CounterRandom random(0);
  for (int i = 0; i < 100'000; ++i) {
    const double u = random.Uniform();
    ExpectEqual(u > 0.0 && u < 1.0, true);
  }
}

}  // namespace
}  // namespace mcts

int main() {
  mcts::DirichletHasItsMeanAndVariance();
  mcts::IllegalActionsGetNoNoiseAndTinyAlphaStillSumsToOne();
  mcts::GumbelHasItsMeanAndVariance();
  mcts::UniformStaysInsideItsInterval();
}
