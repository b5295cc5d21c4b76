#pragma once

#include <cstdint>
#include <limits>

namespace mcts {

// How actions are chosen.
enum class Algorithm : std::uint8_t {
  kPuct,    // MuZero: prior and visits against normalised Q, at every node alike
  kGumbel,  // Gumbel MuZero: sequential halving at the root, improved policy below it
};

// The Q that PUCT gives to actions without a visit.
enum class UnvisitedQ : std::uint8_t {
  kMeanQ,        // mean Q of visited siblings and, below the root, of the parent's mean (as ELF)
  kParentValue,  // the node's own mean value
  kZero,         // the Q that is 0 once normalised: the lowest in the tree; as MuZero
};

// The range that completed Q is divided by, in Gumbel's search.
enum class GumbelQRange : std::uint8_t {
  kNode,  // of completed Q at each node: a node's best and worst action are always as far apart
  kTree,  // of all values and Qs in the tree, at least value_delta_max: small gaps stay small
};

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
  // Share of the root prior that is replaced by noise, if there is noise. In [0, 1].
  double root_exploration_fraction = 0.25;

  // Whether Q is divided by its range: for PUCT by that in the tree, for Gumbel completed Q by
  // gumbel_q_range. False: PUCT uses the unscaled Q, and its bounds have no effect; Gumbel scales
  // it by visits only.
  bool normalize_q = true;

  Algorithm algorithm = Algorithm::kPuct;

  // Q's bounds before any Q was seen, if they are known; Qs outside still widen them. In
  // [-1e25, 1e25] and known_min_q < known_max_q, or both as here: not known. Gumbel uses them if
  // gumbel_q_range is kTree.
  double known_min_q = std::numeric_limits<double>::infinity();
  double known_max_q = -std::numeric_limits<double>::infinity();

  // PUCT only.
  UnvisitedQ unvisited_q = UnvisitedQ::kMeanQ;
  // Concentration of the Dirichlet noise that the trees draw themselves. In [1e-3, 1e3].
  double root_dirichlet_alpha = 0.3;

  // Gumbel only. At most so many actions are tried at the root, at least 1.
  int max_considered_actions = 16;
  // Completed Q is multiplied by (maxvisit_init + most visits of an action) * value_scale. In
  // [0, 1e6] and [0, 1e3].
  double maxvisit_init = 50.0;
  double value_scale = 0.1;
  // Factor of the Gumbel variables that the trees draw themselves; 0: no chance. In [0, 1e3].
  double gumbel_scale = 1.0;
  GumbelQRange gumbel_q_range = GumbelQRange::kNode;

  // 1, or 2: zero-sum, the players alternate. Needs rewards, not value prefixes.
  int num_players = 1;

  // Deviations of the original EfficientZero, to repeat its results; PUCT only.
  // True: the root's first visit adds the network's value. False: it adds a visit and no value,
  // which pulls the root value towards 0.
  bool root_visit_has_value = true;
  // True: N(s) in the exploration term counts the node's own expansion. False: it is the sum of
  // the children's visits, so the first action tried at any node is uniformly random.
  bool exploration_counts_expansion = true;
  // True: after each simulation the bounds of Q are those of all Qs as they are now. False: those
  // of every Q that was ever computed in this search, which only widen.
  bool recomputed_bounds = false;
  // True: recomputed as well, but depth first with the last action's branch first, and the reward
  // of a node is its value prefix minus that of the node met just before it, which is its parent
  // only at the first branch.
  bool stale_prefix_bounds = false;
};

// Throws std::invalid_argument, with got and wanted, for a field outside its range (NaN included)
// and for fields that exclude each other.
void CheckSearchParams(const SearchParams& params);

}  // namespace mcts
