#include "mcts/search_params.h"

#include <sstream>
#include <stdexcept>
#include <string_view>

namespace mcts {
namespace {

void CheckRange(std::string_view name, double got, double lowest, double highest) {
  if (got >= lowest && got <= highest) return;  // false for NaN
  std::ostringstream message;
  message << name << ": got " << got << ", wanted a number in [" << lowest << ", " << highest
          << "]";
  throw std::invalid_argument(message.str());
}

}  // namespace

void CheckSearchParams(const SearchParams& params) {
  CheckRange("discount", params.discount, 0.0, 1.0);
  CheckRange("pb_c_init", params.pb_c_init, 0.0, 1e6);
  CheckRange("pb_c_base", params.pb_c_base, 1.0, 1e9);
  CheckRange("value_delta_max", params.value_delta_max, 1e-12, 1e6);
  CheckRange("value_prefix_horizon", params.value_prefix_horizon, 1, 32767);
  CheckRange("root_exploration_fraction", params.root_exploration_fraction, 0.0, 1.0);
}

}  // namespace mcts
