// One step of an LSTM for a batch, for inference on one core: the gates' matrix product and what is
// done to the gates, without a trip through memory between the two.

#ifndef EFFICIENTZERO_KERNELS_LSTM_H_
#define EFFICIENTZERO_KERNELS_LSTM_H_

#include <cstddef>
#include <cstdint>

namespace efficientzero {

inline constexpr int kGates = 4;
inline constexpr int kUnitMultiple = 16;  // of hidden_size

// States lie as [row][h, c][unit]; all pointers are borrowed.
//
// With ``nodes`` the states are picked from a pool where they lie: row i's is the pool's state
// [nodes[i], i]; with ``keeps`` it is zero where keeps[nodes[i], i] is 0. The next states must not
// lie over states that are read.
struct LstmStep {
  const float* inputs = nullptr;        // [num_rows, input_size]
  const float* states = nullptr;        // [num_rows, 2, hidden_size], or a pool of them:
                                        // [num_nodes, num_rows, 2, hidden_size]
  const std::int32_t* nodes = nullptr;  // [num_rows], in 0..num_nodes-1; null: no pool
  const std::int32_t* keeps = nullptr;  // [num_nodes, num_rows], or null
  const float* weights = nullptr;       // [hidden_size / 16, input_size + hidden_size, kGates, 16]
  const float* bias = nullptr;          // [hidden_size / 16, kGates, 16]
  const float* zeros = nullptr;         // [2, hidden_size]; Step sets it
  float* next_states = nullptr;         // [num_rows, 2, hidden_size]
  std::size_t num_nodes = 0;
  std::size_t num_rows = 0;
  std::size_t input_size = 0;
  std::size_t hidden_size = 0;  // a multiple of kUnitMultiple
};

// Gates in the order i, f, o, g: c' = sigmoid(f) c + sigmoid(i) tanh(g), h' = sigmoid(o) tanh(c').
// Runs on the calling thread. A row's numbers do not depend on the other rows, nor on where they
// lie. Throws std::invalid_argument at a node that is not in the pool, before anything is written.
void Step(const LstmStep& step);

}  // namespace efficientzero

#endif  // EFFICIENTZERO_KERNELS_LSTM_H_
