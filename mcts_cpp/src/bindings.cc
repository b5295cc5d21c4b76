// Python face of TreeBatch: checks dtype, shape and memory order of numpy arrays, releases the GIL,
// calls. The signatures as Python sees them, with their documentation, are in _core.pyi.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "mcts/tree_batch.h"

namespace py = pybind11;

namespace mcts {
namespace {

using Shape = std::vector<py::ssize_t>;

std::string Describe(const std::string& dtype, const Shape& shape) {
  std::ostringstream text;
  text << dtype << " [";
  for (std::size_t i = 0; i < shape.size(); ++i) text << (i == 0 ? "" : ", ") << shape[i];
  text << "]";
  return text.str();
}

// What numpy calls T; bool travels as the byte it is stored in.
template <typename T>
py::dtype NumpyType() {
  if constexpr (std::is_same_v<T, std::uint8_t>) return py::dtype::of<bool>();
  return py::dtype::of<T>();
}

template <typename T>
void CheckArray(const char* name, const py::array& array, const Shape& wanted) {
  const Shape got(array.shape(), array.shape() + array.ndim());
  const py::dtype dtype = NumpyType<T>();
  if (!array.dtype().equal(dtype) || got != wanted) {
    throw std::invalid_argument(std::string(name) + ": got " +
                                Describe(py::str(array.dtype()), got) + ", wanted " +
                                Describe(py::str(dtype), wanted));
  }
  constexpr int kNeeded = static_cast<int>(py::array::c_style) |
                          static_cast<int>(py::detail::npy_api::NPY_ARRAY_ALIGNED_);
  if ((array.flags() & kNeeded) != kNeeded) {
    throw std::invalid_argument(std::string(name) +
                                ": got a strided or unaligned array, wanted a C-contiguous one");
  }
}

template <typename T>
std::span<const T> In(const char* name, const py::array& array, const Shape& shape) {
  CheckArray<T>(name, array, shape);
  return {static_cast<const T*>(array.data()), static_cast<std::size_t>(array.size())};
}

template <typename T>
std::span<const T> In(const char* name, const std::optional<py::array>& array, const Shape& shape) {
  return array ? In<T>(name, *array, shape) : std::span<const T>();
}

template <typename T>
std::span<T> Out(const char* name, py::array& array, const Shape& shape) {
  CheckArray<T>(name, array, shape);
  if (!array.writeable()) {
    throw std::invalid_argument(std::string(name) +
                                ": got a read-only array, wanted a writable one");
  }
  return {static_cast<T*>(array.mutable_data()), static_cast<std::size_t>(array.size())};
}

Shape PerTree(const TreeBatch& batch) { return {batch.num_trees()}; }
Shape PerAction(const TreeBatch& batch) { return {batch.num_trees(), batch.num_actions()}; }

SearchParams MakeParams(double discount, double pb_c_init, double pb_c_base, double value_delta_max,
                        int value_prefix_horizon, bool use_value_prefix,
                        double root_exploration_fraction) {
  const SearchParams params{discount,
                            pb_c_init,
                            pb_c_base,
                            value_delta_max,
                            value_prefix_horizon,
                            use_value_prefix,
                            root_exploration_fraction};
  CheckSearchParams(params);
  return params;
}

std::unique_ptr<TreeBatch> MakeBatch(int num_trees, int num_actions, int num_simulations,
                                     const SearchParams& params, const py::array& seeds) {
  const auto seed_span = In<std::uint64_t>("seeds", seeds, {num_trees});
  const py::gil_scoped_release release;
  return std::make_unique<TreeBatch>(num_trees, num_actions, num_simulations, params, seed_span);
}

void Reset(TreeBatch& batch, const py::array& seeds) {
  const auto seed_span = In<std::uint64_t>("seeds", seeds, PerTree(batch));
  const py::gil_scoped_release release;
  batch.Reset(seed_span);
}

void ExpandRoots(TreeBatch& batch, const py::array& policy_logits, const py::array& values,
                 const std::optional<py::array>& noise,
                 const std::optional<py::array>& legal_actions) {
  const auto logits_span = In<float>("policy_logits", policy_logits, PerAction(batch));
  const auto values_span = In<float>("values", values, PerTree(batch));
  const auto noise_span = In<float>("noise", noise, PerAction(batch));
  const auto legal_span = In<std::uint8_t>("legal_actions", legal_actions, PerAction(batch));
  const py::gil_scoped_release release;
  batch.ExpandRoots(logits_span, values_span, noise_span, legal_span);
}

void SelectLeaves(TreeBatch& batch, py::array& parent_node, py::array& action,
                  py::array& resets_prefix) {
  const auto parent_span = Out<std::int32_t>("parent_node", parent_node, PerTree(batch));
  const auto action_span = Out<std::int32_t>("action", action, PerTree(batch));
  const auto resets_span = Out<std::uint8_t>("resets_prefix", resets_prefix, PerTree(batch));
  const py::gil_scoped_release release;
  batch.SelectLeaves(parent_span, action_span, resets_span);
}

void Backup(TreeBatch& batch, const py::array& value_prefixes, const py::array& values,
            const py::array& policy_logits) {
  const auto prefixes_span = In<float>("value_prefixes", value_prefixes, PerTree(batch));
  const auto values_span = In<float>("values", values, PerTree(batch));
  const auto logits_span = In<float>("policy_logits", policy_logits, PerAction(batch));
  const py::gil_scoped_release release;
  batch.Backup(prefixes_span, values_span, logits_span);
}

void VisitCounts(const TreeBatch& batch, py::array& out) {
  const auto span = Out<std::int32_t>("out", out, PerAction(batch));
  const py::gil_scoped_release release;
  batch.VisitCounts(span);
}

void ChildQ(const TreeBatch& batch, py::array& out) {
  const auto span = Out<float>("out", out, PerAction(batch));
  const py::gil_scoped_release release;
  batch.ChildQ(span);
}

void RootValues(const TreeBatch& batch, py::array& out) {
  const auto span = Out<float>("out", out, PerTree(batch));
  const py::gil_scoped_release release;
  batch.RootValues(span);
}

void SearchDepths(const TreeBatch& batch, py::array& out) {
  const auto span = Out<std::int32_t>("out", out, PerTree(batch));
  const py::gil_scoped_release release;
  batch.SearchDepths(span);
}

void BindParams(py::module_& module) {
  const SearchParams defaults;
  py::class_<SearchParams>(module, "SearchParams")
      .def(py::init(&MakeParams), py::kw_only(), py::arg("discount"),
           py::arg("pb_c_init") = defaults.pb_c_init, py::arg("pb_c_base") = defaults.pb_c_base,
           py::arg("value_delta_max") = defaults.value_delta_max,
           py::arg("value_prefix_horizon") = defaults.value_prefix_horizon,
           py::arg("use_value_prefix") = defaults.use_value_prefix,
           py::arg("root_exploration_fraction") = defaults.root_exploration_fraction)
      .def_readonly("discount", &SearchParams::discount)
      .def_readonly("pb_c_init", &SearchParams::pb_c_init)
      .def_readonly("pb_c_base", &SearchParams::pb_c_base)
      .def_readonly("value_delta_max", &SearchParams::value_delta_max)
      .def_readonly("value_prefix_horizon", &SearchParams::value_prefix_horizon)
      .def_readonly("use_value_prefix", &SearchParams::use_value_prefix)
      .def_readonly("root_exploration_fraction", &SearchParams::root_exploration_fraction);
}

// `noconvert`: a list would be copied to a temporary array, and results written there be lost.
void BindBatch(py::module_& module) {
  const auto array = [](const char* name) { return py::arg(name).noconvert(); };
  py::class_<TreeBatch>(module, "TreeBatch")
      .def(py::init(&MakeBatch), py::arg("num_trees"), py::arg("num_actions"),
           py::arg("num_simulations"), py::arg("params"), array("seeds"))
      .def("reset", &Reset, array("seeds"))
      .def("expand_roots", &ExpandRoots, array("policy_logits"), array("values"),
           array("noise") = py::none(), array("legal_actions") = py::none())
      .def("select_leaves", &SelectLeaves, array("parent_node"), array("action"),
           array("resets_prefix"))
      .def("backup", &Backup, array("value_prefixes"), array("values"), array("policy_logits"))
      .def("visit_counts", &VisitCounts, array("out"))
      .def("child_q", &ChildQ, array("out"))
      .def("root_values", &RootValues, array("out"))
      .def("search_depths", &SearchDepths, array("out"))
      .def_property_readonly("num_trees", &TreeBatch::num_trees)
      .def_property_readonly("num_actions", &TreeBatch::num_actions)
      .def_property_readonly("num_simulations", &TreeBatch::num_simulations)
      .def_property_readonly("num_simulations_done", &TreeBatch::num_simulations_done);
}

}  // namespace
}  // namespace mcts

PYBIND11_MODULE(_core, module) {
  module.doc() = "Batched MuZero search trees; see mcts_cpp/_core.pyi.";
  mcts::BindParams(module);
  mcts::BindBatch(module);
}
