#include "mcts/root_noise.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numbers>

#include "mcts/node_block.h"

namespace mcts {
namespace {

// Box and Muller; the second of the pair is not kept, so that a draw has no memory.
double StandardNormal(CounterRandom& random) {
  const double radius = std::sqrt(-2.0 * std::log(random.Uniform()));
  return radius * std::cos(2.0 * std::numbers::pi * random.Uniform());
}

// The logarithm of a sample of Gamma(alpha), by Marsaglia and Tsang (2000); for alpha < 1 it is
// that of Gamma(alpha + 1) * U^(1 / alpha). In logarithms, because with a small alpha the sample
// itself underflows, and a root whose samples are all 0 has no noise to rescale.
double LogGamma(CounterRandom& random, double alpha) {
  const double d = (alpha < 1.0 ? alpha + 1.0 : alpha) - 1.0 / 3.0;
  const double c = 1.0 / std::sqrt(9.0 * d);
  const double log_boost = alpha < 1.0 ? std::log(random.Uniform()) / alpha : 0.0;
  for (;;) {
    const double x = StandardNormal(random);
    const double t = 1.0 + c * x;
    if (t <= 0.0) continue;
    const double v = t * t * t;
    if (std::log(random.Uniform()) < 0.5 * x * x + d - d * v + d * std::log(v)) {
      return std::log(d * v) + log_boost;
    }
  }
}

}  // namespace

void DrawDirichlet(CounterRandom& random, double alpha, std::span<const std::uint8_t> legal_actions,
                   std::span<float> out) {
  // exp(log gamma - largest log gamma) is proportional to the sample, and never 0 everywhere.
  std::array<double, kMaxActions> logs;
  double largest = -std::numeric_limits<double>::infinity();
  for (std::size_t action = 0; action < out.size(); ++action) {
    const bool is_legal = legal_actions.empty() || legal_actions[action] != 0;
    logs[action] = is_legal ? LogGamma(random, alpha) : -std::numeric_limits<double>::infinity();
    largest = std::max(largest, logs[action]);
  }
  double sum = 0.0;
  for (std::size_t action = 0; action < out.size(); ++action) {
    sum += std::exp(logs[action] - largest);
  }
  for (std::size_t action = 0; action < out.size(); ++action) {
    out[action] = static_cast<float>(std::exp(logs[action] - largest) / sum);
  }
}

void DrawGumbel(CounterRandom& random, double scale, std::span<float> out) {
  for (float& x : out) x = static_cast<float>(scale * -std::log(-std::log(random.Uniform())));
}

}  // namespace mcts
