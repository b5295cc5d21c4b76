// The kernels against direct sums in double precision, over shapes with every kind of remainder.
// Arrays are exactly as long as they must be, so that a sanitizer sees a read too far.

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <stdexcept>
#include <vector>

#include "dispatch.h"

namespace {

using efficientzero::kGates;
using efficientzero::kPatch;
using efficientzero::kPoints;
using Floats = std::vector<float>;

constexpr double kG[kPatch][3] = {{1, 0, 0},
                                  {-2. / 9, -2. / 9, -2. / 9},
                                  {-2. / 9, 2. / 9, -2. / 9},
                                  {1. / 90, 1. / 45, 2. / 45},
                                  {1. / 90, -1. / 45, 2. / 45},
                                  {32. / 45, 16. / 45, 8. / 45},
                                  {32. / 45, -16. / 45, 8. / 45},
                                  {0, 0, 1}};

std::mt19937 generator(0);

Floats Random(std::size_t size) {
  std::normal_distribution<float> normal;
  Floats floats(size);
  for (float& x : floats) x = normal(generator);
  return floats;
}

void Check(double got, double wanted, double tolerance, const char* what) {
  if (!(std::abs(got - wanted) <= tolerance)) {
    std::printf("%s with %s: got %g, wanted %g\n", what, efficientzero::InstructionSet(), got,
                wanted);
    std::exit(1);
  }
}

void TestConvolution(std::size_t images, std::size_t height, std::size_t width, std::size_t in,
                     std::size_t out, bool adds, bool relu) {
  const Floats x = Random(images * height * width * in), weight = Random(9 * in * out);
  const Floats bias = Random(out), added = Random(images * height * width * out);
  Floats points(kPoints * in * out), y(added.size());
  for (std::size_t p = 0; p < kPoints; ++p) {
    for (std::size_t channels = 0; channels < in * out; ++channels) {
      double sum = 0;
      for (std::size_t k = 0; k < 9; ++k) {
        sum += kG[p / kPatch][k / 3] * kG[p % kPatch][k % 3] *
               static_cast<double>(weight[k * in * out + channels]);
      }
      points[p * in * out + channels] = static_cast<float>(sum);
    }
  }
  efficientzero::Convolve({.images = x.data(),
                           .weights = points.data(),
                           .bias = bias.data(),
                           .added = adds ? added.data() : nullptr,
                           .outputs = y.data(),
                           .num_images = images,
                           .height = height,
                           .width = width,
                           .in_channels = in,
                           .out_channels = out,
                           .relu = relu});
  for (std::size_t at = 0; at < y.size(); ++at) {
    const std::size_t o = at % out, pixel = at / out;
    const std::size_t column = pixel % width, row = pixel / width % height;
    const std::size_t image = pixel / width / height;
    double sum = static_cast<double>(bias[o]) + (adds ? static_cast<double>(added[at]) : 0.0);
    for (std::size_t k = 0; k < 9; ++k) {
      const std::size_t r = row + k / 3 - 1, c = column + k % 3 - 1;
      if (r >= height || c >= width) continue;
      for (std::size_t i = 0; i < in; ++i) {
        sum += static_cast<double>(x[((image * height + r) * width + c) * in + i]) *
               static_cast<double>(weight[(k * in + i) * out + o]);
      }
    }
    if (relu && sum < 0) sum = 0;
    Check(static_cast<double>(y[at]), sum, 2e-4 * std::sqrt(static_cast<double>(9 * in)),
          "convolution");
  }
}

constexpr std::size_t kNodes = 5;

using Ints = std::vector<std::int32_t>;

Ints RandomInts(std::size_t size, int limit) {
  Ints ints(size);
  for (std::int32_t& x : ints) x = static_cast<std::int32_t>(generator() % limit);
  return ints;
}

// A pool in which array ``i`` of ``arrays`` is [nodes[i], i]; all else is NaN, which must not be
// read.
Floats Scattered(const Floats& arrays, const Ints& nodes) {
  const std::size_t size = arrays.size() / nodes.size();
  Floats pool(kNodes * arrays.size(), std::nanf(""));
  for (std::size_t at = 0; at < arrays.size(); ++at) {
    const auto node = static_cast<std::size_t>(nodes[at / size]);
    pool[node * arrays.size() + at] = arrays[at];
  }
  return pool;
}

void CheckSame(const Floats& got, const Floats& wanted, const char* what) {
  for (std::size_t at = 0; at < wanted.size(); ++at) {
    Check(static_cast<double>(got[at]), static_cast<double>(wanted[at]), 0, what);
  }
}

// Images that are picked from a pool give the very numbers of the same images side by side; and
// what the action adds is what it would be as an array to add.
void TestPooledConvolution(std::size_t images, std::size_t height, std::size_t width,
                           std::size_t channels) {
  const std::size_t size = height * width * channels;
  const Floats x = Random(images * size), points = Random(kPoints * channels * channels);
  const Floats bias = Random(channels), map = Random(size);
  const Ints nodes = RandomInts(images, kNodes), actions = RandomInts(images, 18);
  const Floats pool = Scattered(x, nodes);
  Floats added(x);
  for (std::size_t at = 0; at < x.size(); ++at) {
    added[at] += static_cast<float>(actions[at / size]) * map[at % size];
  }
  Floats wanted(x.size()), side_by_side(x.size()), pooled(x.size());
  efficientzero::Convolution convolution{.images = x.data(),
                                         .weights = points.data(),
                                         .bias = bias.data(),
                                         .added = added.data(),
                                         .outputs = wanted.data(),
                                         .num_images = images,
                                         .height = height,
                                         .width = width,
                                         .in_channels = channels,
                                         .out_channels = channels,
                                         .relu = true};
  efficientzero::Convolve(convolution);
  convolution.added = nullptr;
  convolution.action_map = map.data();
  convolution.actions = actions.data();
  convolution.outputs = side_by_side.data();
  efficientzero::Convolve(convolution);
  convolution.images = pool.data();
  convolution.nodes = nodes.data();
  convolution.num_nodes = kNodes;
  convolution.outputs = pooled.data();
  efficientzero::Convolve(convolution);
  CheckSame(pooled, side_by_side, "convolution of images in a pool");
  for (std::size_t at = 0; at < wanted.size(); ++at) {
    const auto scale = static_cast<double>(std::abs(wanted[at]));
    Check(static_cast<double>(side_by_side[at]), static_cast<double>(wanted[at]),
          1e-4 + 1e-5 * scale, "convolution with actions");
  }
}

// States that are picked from a pool, or are zero, give the very numbers of the same side by side.
void TestPooledStep(std::size_t rows, std::size_t input, std::size_t hidden) {
  const Floats x = Random(rows * input), bias = Random(kGates * hidden);
  const Floats weights = Random(kGates * hidden * (input + hidden));
  const Ints nodes = RandomInts(rows, kNodes), keeps = RandomInts(kNodes * rows, 2);
  Floats states = Random(rows * 2 * hidden);
  const Floats pool = Scattered(states, nodes);
  for (std::size_t at = 0; at < states.size(); ++at) {
    const std::size_t row = at / (2 * hidden);
    if (keeps[static_cast<std::size_t>(nodes[row]) * rows + row] == 0) states[at] = 0.0f;
  }
  Floats wanted(states.size()), pooled(states.size());
  efficientzero::LstmStep step{.inputs = x.data(),
                               .states = states.data(),
                               .weights = weights.data(),
                               .bias = bias.data(),
                               .next_states = wanted.data(),
                               .num_rows = rows,
                               .input_size = input,
                               .hidden_size = hidden};
  efficientzero::Step(step);
  step.states = pool.data();
  step.nodes = nodes.data();
  step.keeps = keeps.data();
  step.num_nodes = kNodes;
  step.next_states = pooled.data();
  efficientzero::Step(step);
  CheckSame(pooled, wanted, "LSTM with states in a pool");
}

template <typename Kernel>
void CheckRefused(Kernel kernel, const char* what) {
  try {
    kernel();
  } catch (const std::invalid_argument&) {
    return;
  }
  std::printf("%s: a node outside of the pool was taken\n", what);
  std::exit(1);
}

// Arrays of a pool of two nodes are there, so that a node read all the same is seen.
void TestNodesOutsideThePool() {
  const Floats x(2 * 3 * 16, 1.0f), points(kPoints * 16 * 16, 0.0f), weights(kGates * 16 * 17);
  const Floats bias(kGates * 16, 0.0f), states(2 * 3 * 32, 0.0f);
  for (const std::int32_t node : {-1, 2, 1 << 30}) {
    const Ints nodes{0, 1, node};
    Floats y(3 * 16, 7.0f), next(3 * 32, 7.0f);
    CheckRefused(
        [&] {
          efficientzero::Convolve({.images = x.data(),
                                   .nodes = nodes.data(),
                                   .weights = points.data(),
                                   .bias = bias.data(),
                                   .outputs = y.data(),
                                   .num_nodes = 2,
                                   .num_images = 3,
                                   .height = 1,
                                   .width = 1,
                                   .in_channels = 16,
                                   .out_channels = 16});
        },
        "convolution");
    CheckRefused(
        [&] {
          efficientzero::Step({.inputs = x.data(),
                               .states = states.data(),
                               .nodes = nodes.data(),
                               .weights = weights.data(),
                               .bias = bias.data(),
                               .next_states = next.data(),
                               .num_nodes = 2,
                               .num_rows = 3,
                               .input_size = 1,
                               .hidden_size = 16});
        },
        "LSTM");
    CheckSame(y, Floats(y.size(), 7.0f), "outputs of a refused convolution");
    CheckSame(next, Floats(next.size(), 7.0f), "next states of a refused step");
  }
}

double Sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

void TestStep(std::size_t rows, std::size_t input, std::size_t hidden, float scale) {
  Floats x = Random(rows * input);
  for (float& value : x) value *= scale;
  const Floats states = Random(rows * 2 * hidden), bias = Random(kGates * hidden);
  const Floats weights = Random(kGates * hidden * (input + hidden));
  Floats next(states.size());
  efficientzero::Step({.inputs = x.data(),
                       .states = states.data(),
                       .weights = weights.data(),
                       .bias = bias.data(),
                       .next_states = next.data(),
                       .num_rows = rows,
                       .input_size = input,
                       .hidden_size = hidden});
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t unit = 0; unit < hidden; ++unit) {
      double gates[kGates];
      for (std::size_t gate = 0; gate < kGates; ++gate) {
        gates[gate] = static_cast<double>(bias[unit / 16 * 64 + gate * 16 + unit % 16]);
        for (std::size_t k = 0; k < input + hidden; ++k) {
          const float in = k < input ? x[row * input + k] : states[row * 2 * hidden + k - input];
          const std::size_t at = ((unit / 16 * (input + hidden) + k) * kGates + gate) * 16;
          gates[gate] += static_cast<double>(in) * static_cast<double>(weights[at + unit % 16]);
        }
      }
      const double c =
          Sigmoid(gates[1]) * static_cast<double>(states[(row * 2 + 1) * hidden + unit]) +
          Sigmoid(gates[0]) * std::tanh(gates[3]);
      Check(static_cast<double>(next[(row * 2 + 1) * hidden + unit]), c, 1e-4, "c of the LSTM");
      Check(static_cast<double>(next[row * 2 * hidden + unit]), Sigmoid(gates[2]) * std::tanh(c),
            1e-4, "h of the LSTM");
    }
  }
}

void TestDecoding(std::size_t rows, std::size_t bins, float scale) {
  Floats logits = Random(rows * bins), values(rows);
  for (float& logit : logits) logit *= scale;
  efficientzero::Decode(
      {.logits = logits.data(), .values = values.data(), .num_rows = rows, .num_bins = bins});
  for (std::size_t row = 0; row < rows; ++row) {
    double largest = -1e30, weights = 0, moments = 0;
    for (std::size_t bin = 0; bin < bins; ++bin) {
      largest = std::fmax(largest, static_cast<double>(logits[row * bins + bin]));
    }
    for (std::size_t bin = 0; bin < bins; ++bin) {
      const double weight = std::exp(static_cast<double>(logits[row * bins + bin]) - largest);
      weights += weight;
      moments += weight * (static_cast<double>(bin) - static_cast<double>(bins / 2));
    }
    const double value = moments / weights;
    // The textbook's formula.
    const double root = std::sqrt(1 + 4 * 0.001 * (std::abs(value) + 1 + 0.001));
    const double wanted = std::copysign(std::pow((root - 1) / 0.002, 2) - 1, value);
    Check(static_cast<double>(values[row]), wanted, 1e-4 * (1 + std::abs(wanted)), "decoding");
  }
}

// A NaN comes out as a NaN.
void TestNan() {
  const float nan = std::nanf("");
  const Floats x(16, nan), points(kPoints * 16 * 16, 0.0f), bias(16, 0.0f);
  Floats y(16, 0.0f), next(32, 0.0f), value(1, 0.0f);
  efficientzero::Convolve({.images = x.data(),
                           .weights = points.data(),
                           .bias = bias.data(),
                           .outputs = y.data(),
                           .num_images = 1,
                           .height = 1,
                           .width = 1,
                           .in_channels = 16,
                           .out_channels = 16,
                           .relu = true});
  const Floats states(32, 0.0f), weights(kGates * 16 * 17, 1.0f), gate_bias(kGates * 16, 0.0f);
  efficientzero::Step({.inputs = x.data(),
                       .states = states.data(),
                       .weights = weights.data(),
                       .bias = gate_bias.data(),
                       .next_states = next.data(),
                       .num_rows = 1,
                       .input_size = 1,
                       .hidden_size = 16});
  Floats logits(21, 0.0f);
  logits[17] = nan;
  efficientzero::Decode(
      {.logits = logits.data(), .values = value.data(), .num_rows = 1, .num_bins = 21});
  if (!std::isnan(y[0]) || !std::isnan(next[0]) || !std::isnan(next[31]) || !std::isnan(value[0])) {
    std::printf("NaN with %s: got %g %g %g %g\n", efficientzero::InstructionSet(), y[0], next[0],
                next[31], value[0]);
    std::exit(1);
  }
}

}  // namespace

int main() {
  TestConvolution(8, 6, 6, 64, 64, true, true);
  TestConvolution(3, 10, 5, 16, 32, false, true);
  TestConvolution(2, 13, 7, 48, 80, true, false);
  TestConvolution(37, 1, 1, 16, 16, false, false);
  TestConvolution(1, 24, 24, 32, 16, true, true);
  for (std::size_t rows = 1; rows <= 14; ++rows) TestStep(rows, 7, 32, 1.0f);
  TestPooledConvolution(8, 6, 6, 64);
  TestPooledConvolution(3, 10, 5, 16);
  TestPooledConvolution(37, 1, 1, 32);
  for (const std::size_t rows : {1, 2, 5, 13}) TestPooledStep(rows, 7, 32);
  TestNodesOutsideThePool();
  TestStep(2, 1, 16, 1e6f);  // gates far beyond where the exponential ends
  TestDecoding(5, 601, 1.0f);
  TestDecoding(3, 601, 30.0f);
  for (const std::size_t bins : {3, 15, 17, 21}) TestDecoding(4, bins, 3.0f);
  TestNan();
  std::printf("kernels with %s agree with direct sums\n", efficientzero::InstructionSet());
}
