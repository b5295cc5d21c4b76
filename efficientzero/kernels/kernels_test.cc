// The kernels against direct sums in double precision, over shapes with every kind of remainder.
// Arrays are exactly as long as they must be, so that a sanitizer sees a read too far.

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
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
  TestStep(2, 1, 16, 1e6f);  // gates far beyond where the exponential ends
  TestDecoding(5, 601, 1.0f);
  TestDecoding(3, 601, 30.0f);
  for (const std::size_t bins : {3, 15, 17, 21}) TestDecoding(4, bins, 3.0f);
  TestNan();
  std::printf("kernels with %s agree with direct sums\n", efficientzero::InstructionSet());
}
