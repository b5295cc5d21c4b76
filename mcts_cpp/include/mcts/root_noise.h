#pragma once

#include <cstdint>
#include <span>

#include "mcts/counter_random.h"

namespace mcts {

// Random numbers for the exploration at a root, drawn from the tree's own sequence. Computed in
// double with the C library's log, cos and pow, rounded once.

// Writes a sample of Dirichlet(alpha, ..., alpha) over legal actions, 0 for illegal ones.
//   legal_actions [A], 0 = illegal; empty: all are legal. At least one must be legal.
//   out           [A]
void DrawDirichlet(CounterRandom& random, double alpha, std::span<const std::uint8_t> legal_actions,
                   std::span<float> out);

// Writes independent samples of the standard Gumbel distribution times `scale`, [A].
void DrawGumbel(CounterRandom& random, double scale, std::span<float> out);

}  // namespace mcts
