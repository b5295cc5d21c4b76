#pragma once

#include <cstdint>
#include <span>

namespace mcts {

// Writes the prior of a node, and the weight of its actions in the score before any visit.
//   policy_logits [A]
//   legal_actions [A], 0 = illegal; empty: all are legal. At least one must be legal.
//   prior         [Ap] softmax over legal actions; 0 for illegal actions and padding
//   weight        [Ap] the prior; -infinity for illegal actions and padding
void Softmax(std::span<const float> policy_logits, std::span<const std::uint8_t> legal_actions,
             std::span<float> prior, std::span<float> weight);

// Replaces `fraction` of the prior of legal actions by noise; prior and weight as Softmax left
// them.
//   noise [A], not negative, positive for some legal action; rescaled to sum to 1 over legal ones
void MixNoise(std::span<const float> noise, std::span<const std::uint8_t> legal_actions,
              float fraction, std::span<float> prior, std::span<float> weight);

}  // namespace mcts
