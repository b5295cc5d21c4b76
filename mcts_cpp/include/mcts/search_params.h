#pragma once

namespace mcts {

// The coefficients of one search, shared by all trees of a batch. Set once by the caller, never
// changed by the search. Ranges are checked by CheckSearchParams.
struct SearchParams {
  // gamma: weight of one step further ahead, per step. In [0, 1].
  double discount = 0.997;
  // c1 of MuZero's pUCT: strength of the prior at few visits. In [0, 1e6].
  double pb_c_init = 1.25;
  // c2 of MuZero's pUCT: number of visits at which the prior's strength starts to grow. In [1,
  // 1e9].
  double pb_c_base = 19652.0;
  // Smallest range of Q by which Q is divided when it is normalised, so that noise in nearly equal
  // Qs is not blown up to [0, 1]. In [1e-12, 1e6].
  double value_delta_max = 0.01;
  // l: the network's running sum of rewards (value prefix) restarts every l steps of depth. In
  // [1, 32767].
  int value_prefix_horizon = 5;
  // True: the network predicts value prefixes. False: it predicts each step's reward itself.
  bool use_value_prefix = true;
  // Share of the root prior that is replaced by the caller's noise, if noise is given. In [0, 1].
  double root_exploration_fraction = 0.25;
};

// Throws std::invalid_argument, with got and wanted, for a field outside its range (NaN included).
void CheckSearchParams(const SearchParams& params);

}  // namespace mcts
