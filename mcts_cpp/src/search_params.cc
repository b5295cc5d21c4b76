#include "mcts/search_params.h"

#include <cmath>
#include <string_view>

#include "refuse.h"

namespace mcts {
namespace {

void CheckRange(std::string_view name, double got, double lowest, double highest) {
  if (got >= lowest && got <= highest) return;  // false for NaN
  Refuse(name, ": got ", got, ", wanted a number in [", lowest, ", ", highest, "]");
}

void CheckKnownBounds(double low, double high) {
  if (std::isinf(low) && low > 0 && std::isinf(high) && high < 0) return;  // not known
  if (low >= -1e25 && high <= 1e25 && low < high) return;
  Refuse("known_q_bounds: got ", low, " to ", high,
         ", wanted two numbers in [-1e25, 1e25], the lower first");
}

void CheckCombinations(const SearchParams& params) {
  if (params.num_players == 2 && params.use_value_prefix) {
    Refuse("use_value_prefix: got true with num_players 2, wanted false");
  }
  const bool repeats_original = !params.root_visit_has_value ||
                                !params.exploration_counts_expansion || params.recomputed_bounds ||
                                params.stale_prefix_bounds;
  if (params.algorithm != Algorithm::kPuct && repeats_original) {
    Refuse(
        "root_visit_has_value, exploration_counts_expansion, recomputed_bounds, "
        "stale_prefix_bounds: got a change with algorithm gumbel, wanted puct");
  }
}

}  // namespace

void CheckSearchParams(const SearchParams& params) {
  CheckRange("discount", params.discount, 0.0, 1.0);
  CheckRange("pb_c_init", params.pb_c_init, 0.0, 1e6);
  CheckRange("pb_c_base", params.pb_c_base, 1.0, 1e9);
  CheckRange("value_delta_max", params.value_delta_max, 1e-12, 1e6);
  CheckRange("value_prefix_horizon", params.value_prefix_horizon, 1, 32767);
  CheckRange("root_exploration_fraction", params.root_exploration_fraction, 0.0, 1.0);
  CheckKnownBounds(params.known_min_q, params.known_max_q);
  CheckRange("root_dirichlet_alpha", params.root_dirichlet_alpha, 1e-3, 1e3);
  CheckRange("max_considered_actions", params.max_considered_actions, 1, 1024);
  CheckRange("maxvisit_init", params.maxvisit_init, 0.0, 1e6);
  CheckRange("value_scale", params.value_scale, 0.0, 1e3);
  CheckRange("gumbel_scale", params.gumbel_scale, 0.0, 1e3);
  CheckRange("num_players", params.num_players, 1, 2);
  CheckCombinations(params);
}

}  // namespace mcts
