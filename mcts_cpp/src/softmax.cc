#include "mcts/softmax.h"

#include <algorithm>
#include <cstddef>
#include <limits>

#include "mcts/lanes.h"

namespace mcts {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

bool IsLegal(std::span<const std::uint8_t> legal_actions, std::size_t action) {
  return legal_actions.empty() || legal_actions[action] != 0;
}

}  // namespace

void Softmax(std::span<const float> policy_logits, std::span<const std::uint8_t> legal_actions,
             std::span<float> prior, std::span<float> weight) {
  // The logits are copied into the padded output: a vector must not read past the caller's row.
  float* const padded = prior.data();
  std::copy(policy_logits.begin(), policy_logits.end(), padded);
  std::fill(padded + policy_logits.size(), padded + prior.size(), -kInfinity);
  for (std::size_t action = 0; action < legal_actions.size(); ++action) {
    if (legal_actions[action] == 0) padded[action] = -kInfinity;
  }

  FloatLanes highest = LoadLanes(padded);
  for (std::size_t first = kLanes; first < prior.size(); first += kLanes) {
    highest = Max(highest, LoadLanes(padded + first));
  }
  const float max_logit = MaxOfLanes(highest);

  FloatLanes sums = Broadcast(0.0F);
  for (std::size_t first = 0; first < prior.size(); first += kLanes) {
    const FloatLanes logits = LoadLanes(padded + first);
    const FloatLanes exps = ExpOfNonPositive(logits - max_logit);
    const FloatLanes legal_exps = logits > -kInfinity ? exps : Broadcast(0.0F);
    sums += legal_exps;
    StoreLanes(legal_exps, padded + first);
    StoreLanes(logits > -kInfinity ? Broadcast(0.0F) : Broadcast(-kInfinity), &weight[first]);
  }

  const float sum = SumOfLanes(sums);
  for (std::size_t first = 0; first < prior.size(); first += kLanes) {
    const FloatLanes probabilities = LoadLanes(padded + first) / sum;
    StoreLanes(probabilities, padded + first);
    StoreLanes(LoadLanes(&weight[first]) + probabilities, &weight[first]);
  }
}

void MixNoise(std::span<const float> noise, std::span<const std::uint8_t> legal_actions,
              float fraction, std::span<float> prior, std::span<float> weight) {
  FloatLanes sums = Broadcast(0.0F);
  for (std::size_t action = 0; action < noise.size(); ++action) {
    if (IsLegal(legal_actions, action)) sums[action % kLanes] += noise[action];
  }
  const float sum = SumOfLanes(sums);
  for (std::size_t action = 0; action < noise.size(); ++action) {
    if (!IsLegal(legal_actions, action)) continue;
    prior[action] = (1.0F - fraction) * prior[action] + fraction * (noise[action] / sum);
    weight[action] = prior[action];
  }
}

}  // namespace mcts
