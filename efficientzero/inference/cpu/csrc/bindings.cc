// Python face of the kernels; the signatures, with their documentation, are in _kernels.pyi.
//
// Tensors come as addresses: making arrays of five small tensors would cost a call's time over
// again. `cpu_kernels.py`, the only caller, checks them.

#include <pybind11/pybind11.h>

#include <cstdint>

#include "dispatch.h"

namespace py = pybind11;

namespace efficientzero {
namespace {

using Address = std::uintptr_t;

const float* In(Address address) { return reinterpret_cast<const float*>(address); }
const std::int32_t* InInts(Address address) {
  return reinterpret_cast<const std::int32_t*>(address);
}
float* Out(Address address) { return reinterpret_cast<float*>(address); }

void Convolve3x3(Address images, std::size_t num_nodes, Address nodes, Address weights,
                 Address bias, Address added, Address action_map, Address actions, Address outputs,
                 std::size_t num_images, std::size_t height, std::size_t width,
                 std::size_t in_channels, std::size_t out_channels, bool relu) {
  const py::gil_scoped_release release;
  Convolve({.images = In(images),
            .nodes = InInts(nodes),
            .weights = In(weights),
            .bias = In(bias),
            .added = In(added),
            .action_map = In(action_map),
            .actions = InInts(actions),
            .outputs = Out(outputs),
            .num_nodes = num_nodes,
            .num_images = num_images,
            .height = height,
            .width = width,
            .in_channels = in_channels,
            .out_channels = out_channels,
            .relu = relu});
}

void StepLstm(Address inputs, Address states, std::size_t num_nodes, Address nodes, Address keeps,
              Address weights, Address bias, Address next_states, std::size_t num_rows,
              std::size_t input_size, std::size_t hidden_size) {
  const py::gil_scoped_release release;
  Step({.inputs = In(inputs),
        .states = In(states),
        .nodes = InInts(nodes),
        .keeps = InInts(keeps),
        .weights = In(weights),
        .bias = In(bias),
        .next_states = Out(next_states),
        .num_nodes = num_nodes,
        .num_rows = num_rows,
        .input_size = input_size,
        .hidden_size = hidden_size});
}

void DecodeLogits(Address logits, Address values, std::size_t num_rows, std::size_t num_bins) {
  const py::gil_scoped_release release;
  Decode({.logits = In(logits), .values = Out(values), .num_rows = num_rows, .num_bins = num_bins});
}

}  // namespace
}  // namespace efficientzero

PYBIND11_MODULE(_kernels, module) {
  module.attr("INSTRUCTION_SET") = efficientzero::InstructionSet();
  module.attr("CHANNEL_MULTIPLE") = efficientzero::kChannelMultiple;
  module.attr("UNIT_MULTIPLE") = efficientzero::kUnitMultiple;
  module.def("convolve_3x3", &efficientzero::Convolve3x3);
  module.def("step_lstm", &efficientzero::StepLstm);
  module.def("decode_logits", &efficientzero::DecodeLogits);
}
