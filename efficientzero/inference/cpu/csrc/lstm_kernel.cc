// The arithmetic of lstm.h; see lanes.h.

#include "lanes.h"
#include "lstm.h"

namespace efficientzero {
namespace {

using std::size_t;

// Rows whose gates are in registers at once: of AVX-512's 32 registers 24, of AVX2's 16 eight.
constexpr size_t kRows = kLanes == 16 ? 6 : 2;

KERNEL_INLINE Lanes Sigmoid(Lanes x) { return 1.0f / (1.0f + Exp(-Clamped(x, 80.0f))); }
KERNEL_INLINE Lanes Tanh(Lanes x) { return 1.0f - 2.0f / (1.0f + Exp(2.0f * Clamped(x, 40.0f))); }

// Where the state of ``row`` lies.
inline const float* StateOf(const LstmStep& s, size_t row) {
  if (s.nodes == nullptr) return s.states + row * 2 * s.hidden_size;
  const size_t at = static_cast<size_t>(s.nodes[row]) * s.num_rows + row;
  return s.keeps == nullptr || s.keeps[at] != 0 ? s.states + at * 2 * s.hidden_size : s.zeros;
}

// Adds rows [kBlockRows][depth] x weights [depth, kGates, kUnitMultiple] to sums.
template <size_t kBlockRows>
KERNEL_INLINE const float* AddProduct(const float* const (&rows)[kBlockRows], size_t depth,
                                      const float* weights, Lanes (*sums)[kGates]) {
  for (size_t k = 0; k < depth; ++k, weights += kGates * kUnitMultiple) {
    Lanes row[kGates];
    for (size_t gate = 0; gate < kGates; ++gate) row[gate] = Load(weights + gate * kUnitMultiple);
    for (size_t i = 0; i < kBlockRows; ++i) {
      const float factor = rows[i][k];
      for (size_t gate = 0; gate < kGates; ++gate) sums[i][gate] += factor * row[gate];
    }
  }
  return weights;
}

// Steps kBlockRows rows in kLanes units, the first of which is ``unit``.
template <size_t kBlockRows>
void StepBlock(const LstmStep& s, size_t first_row, size_t unit) {
  const size_t panel = unit / kUnitMultiple, lane = unit % kUnitMultiple;
  const size_t depth = s.input_size + s.hidden_size;
  const float* weights = s.weights + panel * depth * kGates * kUnitMultiple + lane;
  const float* bias = s.bias + panel * kGates * kUnitMultiple + lane;
  const float* inputs[kBlockRows];
  const float* states[kBlockRows];
  for (size_t i = 0; i < kBlockRows; ++i) {
    inputs[i] = s.inputs + (first_row + i) * s.input_size;
    states[i] = StateOf(s, first_row + i);
  }
  Lanes sums[kBlockRows][kGates];
  for (size_t i = 0; i < kBlockRows; ++i) {
    for (size_t gate = 0; gate < kGates; ++gate) sums[i][gate] = Load(bias + gate * kUnitMultiple);
  }
  weights = AddProduct<kBlockRows>(inputs, s.input_size, weights, sums);
  AddProduct<kBlockRows>(states, s.hidden_size, weights, sums);
  for (size_t i = 0; i < kBlockRows; ++i) {
    const Lanes c = Load(states[i] + s.hidden_size + unit);
    const Lanes next = Sigmoid(sums[i][1]) * c + Sigmoid(sums[i][0]) * Tanh(sums[i][3]);
    float* to = s.next_states + (first_row + i) * 2 * s.hidden_size + unit;
    Store(to, Sigmoid(sums[i][2]) * Tanh(next));
    Store(to + s.hidden_size, next);
  }
}

template <size_t kBlockRows>
void StepRows(const LstmStep& s, size_t row, size_t rows, size_t unit) {
  if constexpr (kBlockRows > 1) {
    if (rows < kBlockRows) return StepRows<kBlockRows - 1>(s, row, rows, unit);
  }
  StepBlock<kBlockRows>(s, row, unit);
}

}  // namespace

namespace KERNEL_SET {

void RunStep(const LstmStep& s) {
  // Blocks of equal height: a small last one would wait for the weights, not for arithmetic.
  const size_t blocks = (s.num_rows + kRows - 1) / kRows;
  for (size_t unit = 0; unit < s.hidden_size; unit += kLanes) {
    for (size_t block = 0; block < blocks; ++block) {
      const size_t row = block * s.num_rows / blocks;
      StepRows<kRows>(s, row, (block + 1) * s.num_rows / blocks - row, unit);
    }
  }
}

}  // namespace KERNEL_SET
}  // namespace efficientzero
