// Python interface of TreeBatch: unpacks the arrays, releases the GIL, calls. The Python signatures
// with their documentation are in _core.pyi.

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <utility>

#include "arrays.h"
#include "bind_params.h"
#include "mcts/tree_batch.h"

namespace py = pybind11;

namespace mcts {
namespace {

Shape PerTree(const TreeBatch& batch) { return Shape(batch.num_trees()); }
Shape PerAction(const TreeBatch& batch) { return {batch.num_trees(), batch.num_actions()}; }

// Keeps a batch to one call at a time: two at once would damage the trees, since the GIL is
// released.
class OnlyCall {
 public:
  explicit OnlyCall(const TreeBatch& batch) : is_busy_(batch.is_busy()) {
    if (is_busy_.exchange(true, std::memory_order_acquire)) {
      throw std::invalid_argument(
          "TreeBatch: got a call during a call of another thread, wanted one at a time");
    }
  }
  ~OnlyCall() { is_busy_.store(false, std::memory_order_release); }
  OnlyCall(const OnlyCall&) = delete;
  OnlyCall& operator=(const OnlyCall&) = delete;

 private:
  std::atomic<bool>& is_busy_;
};

std::unique_ptr<TreeBatch> MakeBatch(int num_trees, int num_actions, int num_simulations,
                                     const SearchParams& params, const py::object& seeds,
                                     int num_threads, int max_reused_nodes) {
  Arrays arrays;
  const auto seed_span = arrays.In<std::uint64_t>("seeds", seeds, Shape(num_trees));
  const py::gil_scoped_release release;
  return std::make_unique<TreeBatch>(num_trees, num_actions, num_simulations, params, seed_span,
                                     num_threads, max_reused_nodes);
}

void Reset(TreeBatch& batch, const py::object& seeds) {
  Arrays arrays;
  const auto seed_span = arrays.In<std::uint64_t>("seeds", seeds, PerTree(batch));
  const OnlyCall only_call(batch);
  const py::gil_scoped_release release;
  batch.Reset(seed_span);
}

void ExpandRoots(TreeBatch& batch, const py::object& policy_logits, const py::object& values,
                 const py::object& noise, const py::object& legal_actions,
                 const py::object& to_play, bool draw_noise, bool reuse) {
  Arrays arrays;
  const RootInputs inputs{
      .policy_logits = arrays.In<float>("policy_logits", policy_logits, PerAction(batch)),
      .values = arrays.In<float>("values", values, PerTree(batch)),
      .noise = arrays.OptionalIn<float>("noise", noise, PerAction(batch)),
      .legal_actions =
          arrays.OptionalIn<std::uint8_t>("legal_actions", legal_actions, PerAction(batch)),
      .to_play = arrays.OptionalIn<std::int32_t>("to_play", to_play, PerTree(batch)),
      .draws_noise = draw_noise,
      .reuses_nodes = reuse};
  const OnlyCall only_call(batch);
  const py::gil_scoped_release release;
  batch.ExpandRoots(inputs);
}

void SelectLeaves(TreeBatch& batch, const py::object& parent_node, const py::object& action,
                  const py::object& resets_prefix, const py::object& new_node) {
  Arrays arrays;
  const auto parent_span = arrays.Out<std::int32_t>("parent_node", parent_node, PerTree(batch));
  const auto action_span = arrays.Out<std::int32_t>("action", action, PerTree(batch));
  const auto resets_span = arrays.Out<std::uint8_t>("resets_prefix", resets_prefix, PerTree(batch));
  const auto new_span = new_node.is_none()
                            ? std::span<std::int32_t>()
                            : arrays.Out<std::int32_t>("new_node", new_node, PerTree(batch));
  const OnlyCall only_call(batch);
  const py::gil_scoped_release release;
  batch.SelectLeaves(parent_span, action_span, resets_span, new_span);
}

void Backup(TreeBatch& batch, const py::object& value_prefixes, const py::object& values,
            const py::object& policy_logits) {
  Arrays arrays;
  const auto prefixes_span = arrays.In<float>("value_prefixes", value_prefixes, PerTree(batch));
  const auto values_span = arrays.In<float>("values", values, PerTree(batch));
  const auto logits_span = arrays.In<float>("policy_logits", policy_logits, PerAction(batch));
  const OnlyCall only_call(batch);
  const py::gil_scoped_release release;
  batch.Backup(prefixes_span, values_span, logits_span);
}

void Advance(TreeBatch& batch, const py::object& actions, const py::object& old_node,
             const py::object& num_kept, const py::object& legal_actions) {
  Arrays arrays;
  const Shape per_kept_node = {batch.num_trees(), batch.max_reused_nodes() + 1};
  const auto action_span = arrays.In<std::int32_t>("actions", actions, PerTree(batch));
  const auto old_span = arrays.Out<std::int32_t>("old_node", old_node, per_kept_node);
  const auto kept_span = arrays.Out<std::int32_t>("num_kept", num_kept, PerTree(batch));
  const auto legal_span =
      arrays.OptionalIn<std::uint8_t>("legal_actions", legal_actions, PerAction(batch));
  const OnlyCall only_call(batch);
  const py::gil_scoped_release release;
  batch.Advance(action_span, old_span, kept_span, legal_span);
}

void VisitCounts(const TreeBatch& batch, const py::object& out) {
  Arrays arrays;
  const auto span = arrays.Out<std::int32_t>("out", out, PerAction(batch));
  const OnlyCall only_call(batch);
  const py::gil_scoped_release release;
  batch.VisitCounts(span);
}

void ChildQ(const TreeBatch& batch, const py::object& out) {
  Arrays arrays;
  const auto span = arrays.Out<float>("out", out, PerAction(batch));
  const OnlyCall only_call(batch);
  const py::gil_scoped_release release;
  batch.ChildQ(span);
}

void ActionWeights(const TreeBatch& batch, const py::object& out) {
  Arrays arrays;
  const auto span = arrays.Out<float>("out", out, PerAction(batch));
  const OnlyCall only_call(batch);
  const py::gil_scoped_release release;
  batch.ActionWeights(span);
}

void BestActions(const TreeBatch& batch, const py::object& out) {
  Arrays arrays;
  const auto span = arrays.Out<std::int32_t>("out", out, PerTree(batch));
  const OnlyCall only_call(batch);
  const py::gil_scoped_release release;
  batch.BestActions(span);
}

void RootValues(const TreeBatch& batch, const py::object& out) {
  Arrays arrays;
  const auto span = arrays.Out<float>("out", out, PerTree(batch));
  const OnlyCall only_call(batch);
  const py::gil_scoped_release release;
  batch.RootValues(span);
}

void SearchDepths(const TreeBatch& batch, const py::object& out) {
  Arrays arrays;
  const auto span = arrays.Out<std::int32_t>("out", out, PerTree(batch));
  const OnlyCall only_call(batch);
  const py::gil_scoped_release release;
  batch.SearchDepths(span);
}

py::dict ExportTree(const TreeBatch& batch, int tree) {
  const OnlyCall only_call(batch);
  py::list nodes;
  for (const NodeView& node : batch.Nodes(tree)) {
    const bool is_root = node.parent < 0;
    py::dict item;
    item["index"] = node.index;
    item["parent"] = is_root ? py::object(py::none()) : py::int_(node.parent);
    item["action"] = is_root ? py::object(py::none()) : py::int_(node.action);
    item["depth"] = node.depth;
    item["visits"] = node.visits;
    item["value"] = node.value;
    item["reward"] = node.reward;
    item["prior"] = node.prior;
    item["q"] = is_root ? py::object(py::none()) : py::float_(node.q);
    item["priors"] = node.priors;
    nodes.append(std::move(item));
  }
  py::dict result;
  result["tree"] = tree;
  result["num_actions"] = batch.num_actions();
  result["nodes"] = std::move(nodes);
  return result;
}

void BindBatch(py::module_& module) {
  using py::arg;
  py::class_<TreeBatch>(module, "TreeBatch")
      .def(py::init(&MakeBatch), arg("num_trees"), arg("num_actions"), arg("num_simulations"),
           arg("params"), arg("seeds"), arg("num_threads") = 1, arg("max_reused_nodes") = 0)
      .def("reset", &Reset, arg("seeds"))
      .def("expand_roots", &ExpandRoots, arg("policy_logits"), arg("values"),
           arg("noise") = py::none(), arg("legal_actions") = py::none(),
           arg("to_play") = py::none(), arg("draw_noise") = false, arg("reuse") = false)
      .def("select_leaves", &SelectLeaves, arg("parent_node"), arg("action"), arg("resets_prefix"),
           arg("new_node") = py::none())
      .def("advance", &Advance, arg("actions"), arg("old_node"), arg("num_kept"),
           arg("legal_actions") = py::none())
      .def("backup", &Backup, arg("value_prefixes"), arg("values"), arg("policy_logits"))
      .def("visit_counts", &VisitCounts, arg("out"))
      .def("child_q", &ChildQ, arg("out"))
      .def("action_weights", &ActionWeights, arg("out"))
      .def("best_actions", &BestActions, arg("out"))
      .def("root_values", &RootValues, arg("out"))
      .def("search_depths", &SearchDepths, arg("out"))
      .def("export_tree", &ExportTree, arg("tree"))
      .def_property_readonly("num_trees", &TreeBatch::num_trees)
      .def_property_readonly("num_actions", &TreeBatch::num_actions)
      .def_property_readonly("num_simulations", &TreeBatch::num_simulations)
      .def_property_readonly("max_reused_nodes", &TreeBatch::max_reused_nodes)
      .def_property_readonly("num_threads", &TreeBatch::num_threads)
      .def_property_readonly("num_simulations_done", &TreeBatch::num_simulations_done)
      .def_property_readonly("bytes_per_tree", &TreeBatch::bytes_per_tree);
}

}  // namespace
}  // namespace mcts

PYBIND11_MODULE(_core, module) {
  module.doc() = "Batched MuZero search trees; see mcts_cpp/_core.pyi.";
  mcts::BindParams(module);
  mcts::BindBatch(module);
}
