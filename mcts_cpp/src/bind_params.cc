// Python interface of SearchParams.

#include "bind_params.h"

#include <pybind11/stl.h>

#include <initializer_list>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

#include "mcts/search_params.h"

namespace py = pybind11;

namespace mcts {
namespace {

// The names of an enumeration's values in Python.
template <typename Enum>
using Names = std::initializer_list<std::pair<std::string_view, Enum>>;

const Names<Algorithm> kAlgorithmNames = {{"puct", Algorithm::kPuct},
                                          {"gumbel", Algorithm::kGumbel}};
const Names<GumbelQRange> kGumbelQRangeNames = {{"node", GumbelQRange::kNode},
                                                {"tree", GumbelQRange::kTree}};
const Names<UnvisitedQ> kUnvisitedQNames = {{"mean_q", UnvisitedQ::kMeanQ},
                                            {"parent_value", UnvisitedQ::kParentValue},
                                            {"zero", UnvisitedQ::kZero}};

template <typename Enum>
Enum Parsed(const char* field, std::string_view got, const Names<Enum>& names) {
  std::ostringstream message;
  message << field << ": got '" << got << "', wanted one of";
  for (const auto& [name, value] : names) {
    if (name == got) return value;
    message << " '" << name << "'";
  }
  throw std::invalid_argument(message.str());
}

template <typename Enum>
std::string NameOf(Enum wanted, const Names<Enum>& names) {
  for (const auto& [name, value] : names) {
    if (value == wanted) return std::string(name);
  }
  throw std::logic_error("an enumeration value without a name");
}

using Bounds = std::optional<std::pair<double, double>>;

Bounds KnownBounds(const SearchParams& params) {
  if (params.known_min_q > params.known_max_q) return std::nullopt;
  return std::pair(params.known_min_q, params.known_max_q);
}

SearchParams MakeParams(double discount, double pb_c_init, double pb_c_base, double value_delta_max,
                        int value_prefix_horizon, bool use_value_prefix,
                        double root_exploration_fraction, bool normalize_q,
                        const std::string& algorithm, const std::string& unvisited_q,
                        const Bounds& known_q_bounds, double root_dirichlet_alpha,
                        int max_considered_actions, double maxvisit_init, double value_scale,
                        double gumbel_scale, const std::string& gumbel_q_range, int num_players,
                        bool root_visit_has_value, bool exploration_counts_expansion,
                        bool recomputed_bounds, bool stale_prefix_bounds) {
  SearchParams params{
      .discount = discount,
      .pb_c_init = pb_c_init,
      .pb_c_base = pb_c_base,
      .value_delta_max = value_delta_max,
      .value_prefix_horizon = value_prefix_horizon,
      .use_value_prefix = use_value_prefix,
      .root_exploration_fraction = root_exploration_fraction,
      .normalize_q = normalize_q,
      .algorithm = Parsed("algorithm", algorithm, kAlgorithmNames),
      .unvisited_q = Parsed("unvisited_q", unvisited_q, kUnvisitedQNames),
      .root_dirichlet_alpha = root_dirichlet_alpha,
      .max_considered_actions = max_considered_actions,
      .maxvisit_init = maxvisit_init,
      .value_scale = value_scale,
      .gumbel_scale = gumbel_scale,
      .gumbel_q_range = Parsed("gumbel_q_range", gumbel_q_range, kGumbelQRangeNames),
      .num_players = num_players,
      .root_visit_has_value = root_visit_has_value,
      .exploration_counts_expansion = exploration_counts_expansion,
      .recomputed_bounds = recomputed_bounds,
      .stale_prefix_bounds = stale_prefix_bounds};
  if (known_q_bounds) std::tie(params.known_min_q, params.known_max_q) = *known_q_bounds;
  CheckSearchParams(params);
  return params;
}

}  // namespace

void BindParams(py::module_& module) {
  const SearchParams defaults;
  py::class_<SearchParams>(module, "SearchParams")
      .def(py::init(&MakeParams), py::kw_only(), py::arg("discount"),
           py::arg("pb_c_init") = defaults.pb_c_init, py::arg("pb_c_base") = defaults.pb_c_base,
           py::arg("value_delta_max") = defaults.value_delta_max,
           py::arg("value_prefix_horizon") = defaults.value_prefix_horizon,
           py::arg("use_value_prefix") = defaults.use_value_prefix,
           py::arg("root_exploration_fraction") = defaults.root_exploration_fraction,
           py::arg("normalize_q") = defaults.normalize_q,
           py::arg("algorithm") = NameOf(defaults.algorithm, kAlgorithmNames),
           py::arg("unvisited_q") = NameOf(defaults.unvisited_q, kUnvisitedQNames),
           py::arg("known_q_bounds") = py::none(),
           py::arg("root_dirichlet_alpha") = defaults.root_dirichlet_alpha,
           py::arg("max_considered_actions") = defaults.max_considered_actions,
           py::arg("maxvisit_init") = defaults.maxvisit_init,
           py::arg("value_scale") = defaults.value_scale,
           py::arg("gumbel_scale") = defaults.gumbel_scale,
           py::arg("gumbel_q_range") = NameOf(defaults.gumbel_q_range, kGumbelQRangeNames),
           py::arg("num_players") = defaults.num_players,
           py::arg("root_visit_has_value") = defaults.root_visit_has_value,
           py::arg("exploration_counts_expansion") = defaults.exploration_counts_expansion,
           py::arg("recomputed_bounds") = defaults.recomputed_bounds,
           py::arg("stale_prefix_bounds") = defaults.stale_prefix_bounds)
      .def_readonly("discount", &SearchParams::discount)
      .def_readonly("pb_c_init", &SearchParams::pb_c_init)
      .def_readonly("pb_c_base", &SearchParams::pb_c_base)
      .def_readonly("value_delta_max", &SearchParams::value_delta_max)
      .def_readonly("value_prefix_horizon", &SearchParams::value_prefix_horizon)
      .def_readonly("use_value_prefix", &SearchParams::use_value_prefix)
      .def_readonly("root_exploration_fraction", &SearchParams::root_exploration_fraction)
      .def_readonly("normalize_q", &SearchParams::normalize_q)
      .def_property_readonly(
          "algorithm",
          [](const SearchParams& params) { return NameOf(params.algorithm, kAlgorithmNames); })
      .def_property_readonly(
          "unvisited_q",
          [](const SearchParams& params) { return NameOf(params.unvisited_q, kUnvisitedQNames); })
      .def_property_readonly("known_q_bounds", &KnownBounds)
      .def_readonly("root_dirichlet_alpha", &SearchParams::root_dirichlet_alpha)
      .def_readonly("max_considered_actions", &SearchParams::max_considered_actions)
      .def_readonly("maxvisit_init", &SearchParams::maxvisit_init)
      .def_readonly("value_scale", &SearchParams::value_scale)
      .def_readonly("gumbel_scale", &SearchParams::gumbel_scale)
      .def_property_readonly("gumbel_q_range",
                             [](const SearchParams& params) {
                               return NameOf(params.gumbel_q_range, kGumbelQRangeNames);
                             })
      .def_readonly("num_players", &SearchParams::num_players)
      .def_readonly("root_visit_has_value", &SearchParams::root_visit_has_value)
      .def_readonly("exploration_counts_expansion", &SearchParams::exploration_counts_expansion)
      .def_readonly("recomputed_bounds", &SearchParams::recomputed_bounds)
      .def_readonly("stale_prefix_bounds", &SearchParams::stale_prefix_bounds);
}

}  // namespace mcts
