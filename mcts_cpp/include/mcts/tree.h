#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "mcts/counter_random.h"
#include "mcts/gumbel.h"
#include "mcts/min_max_stats.h"
#include "mcts/node_block.h"
#include "mcts/search_params.h"

namespace mcts {

class Tree;
struct SearchConstants;

// The leaf a descent ended at: an action without a child.
struct Leaf {
  int parent_node = 0;
  int action = 0;
  bool resets_prefix = false;  // the new node's depth is a multiple of value_prefix_horizon
};

// The network's outputs for a leaf.
struct Answer {
  float value_prefix = 0.0F;  // reward of the step into the leaf, unless use_value_prefix
  float value = 0.0F;
  std::span<const float> policy_logits = {};  // [A]
};

// The variant of the search: one template, instantiated for every combination that differs in the
// inner loops, so that none pays for another's branches. Chosen once per batch.
struct TreeOperations {
  Leaf (Tree::*select)(const SearchConstants&);
  void (Tree::*backup)(const SearchConstants&, int node, const Answer&);
};

// Constants shared by all trees of a batch, in the precision of the search.
struct SearchConstants {
  SearchConstants(int num_actions, int num_simulations, const SearchParams& params,
                  int max_reused_nodes = 0);

  BlockLayout layout;
  std::size_t num_actions;
  TreeOperations operations;
  float discount;     // negative with two players, whose returns are opposite
  float player_sign;  // -1 with two players, else 1
  float value_delta_max;
  bool normalizes_q;
  int value_prefix_horizon;
  bool use_value_prefix;
  bool root_visit_has_value;
  float root_exploration_fraction;
  double root_dirichlet_alpha;
  Algorithm algorithm;
  int max_reused_nodes;  // R; 0: a tree never outlives its search
  GumbelConstants gumbel;
  MinMaxStats initial_bounds;
  // [num_simulations + R + 2] by N(s): (ln((N + pb_c_base + 1) / pb_c_base) + pb_c_init) * sqrt(N),
  // computed in double, rounded once. N - 1 in place of N, unless exploration_counts_expansion.
  std::vector<float> exploration;
};

// One step of a descent.
struct PathStep {
  std::int16_t node = 0;
  std::int16_t action = 0;
};

// The next step of a descent from a node below the root. Gumbel's choice there depends on the node
// alone, so it is made when the node changes: nodes of one path are independent of each other then,
// while in a descent each would wait for the one above.
struct NextStep {
  std::int16_t child = kNoChild;
  std::int16_t action = 0;
};

// Where a tree's nodes live; owned by the batch. n = num_simulations + 1 + R nodes.
struct TreeMemory {
  CacheLine* blocks = nullptr;      // [n, lines_per_block]
  float* value_prefixes = nullptr;  // [n] as the network gave them; root: 0
  PathStep* path = nullptr;         // [n - 1] the latest descent
  // Gumbel only:
  NextStep* next_steps = nullptr;  // [n] the root's is not used
  float* root_scores = nullptr;    // [Ap] Gumbel variable + logit - largest; -infinity: illegal
  // With R > 0 only:
  float* visits_before = nullptr;  // [Ap] Gumbel: N(root, a) before this search
  // [n] steps since the sum of rewards restarted, modulo value_prefix_horizon. A kept node's count
  // is that of the search which expanded it, because so are its latent and recurrent state.
  std::int16_t* phases = nullptr;
};

// Whose view the network's numbers are given in, if there are two players.
enum class View : std::int8_t {
  kMover,          // values: of the player to move at the node; rewards: of the one who acted
  kPlayer0Begins,  // all of player 0, who moves at the root
  kPlayer1Begins,  // all of player 0, while player 1 moves at the root
};

// Inputs of a root.
struct RootInput {
  std::span<const float> policy_logits = {};  // [A]
  float value = 0.0F;                         // the network's; the root's first visit
  // [A] PUCT: not negative, mixed into the prior; Gumbel: added to the logits. Empty: none.
  std::span<const float> noise = {};
  std::span<const std::uint8_t> legal_actions = {};  // [A], 0 = illegal; empty: all are legal
  View view = View::kMover;
  bool draws_noise = false;   // from the tree's own sequence; `noise` is empty then
  bool reuses_nodes = false;  // start from the nodes that Advance kept, if any
};

// One node as a reader sees it.
struct NodeView {
  int index = 0;
  int parent = -1;  // -1: the root
  int action = -1;  // the step into this node; -1: the root
  int depth = 0;
  int visits = 0;
  float value = 0.0F;         // mean return from here, for the player to move
  float reward = 0.0F;        // of the step into this node
  float prior = 0.0F;         // of the step into this node; root: 1
  float q = 0.0F;             // of the step into this node, as the parent sees it; root: 0
  std::vector<float> priors;  // [A] of the steps out of this node
};

// One search tree. Node 0 is the root, simulation i = 1, 2, ... expands node i.
//
// With R > 0 a tree may start from nodes of the search before; new nodes come after them, so that
// simulation i expands node num_kept() + i.
//
// Calls come as ExpandRoot, then (Select, Backup) repeated, then perhaps Advance; the caller
// guarantees the order and checks the numbers. Owns no memory, not thread-safe.
class alignas(64) Tree {
 public:
  Tree(TreeMemory memory, std::uint64_t seed)
      : memory_(memory), ties_(seed), noise_(CounterRandom::ForNoise(seed)) {}

  // Starts a new search. Continues the tree's random sequences.
  void ExpandRoot(const SearchConstants& constants, const RootInput& input);

  // Descends by the highest score until it leaves the tree.
  Leaf Select(const SearchConstants& constants) {
    return (this->*constants.operations.select)(constants);
  }

  // Expands the selected leaf of this search's simulation 1, 2, ... and updates its ancestors.
  void Backup(const SearchConstants& constants, int simulation, const Answer& answer) {
    (this->*constants.operations.backup)(constants, simulation, answer);
  }

  // Prefetches the memory that this simulation's Backup uses. With many trees it has left the cache
  // by the tree's turn; a descent by PUCT has just read its path, but not the leaf. Forced inline,
  // because GCC drops calls of functions that only prefetch.
  [[gnu::always_inline]] void PrefetchBackup(const SearchConstants& constants,
                                             int simulation) const {
    PrefetchNode(constants, num_kept_ + simulation);
    if (constants.algorithm != Algorithm::kGumbel) return;
    for (int depth = 0; depth < leaf_depth_; ++depth) {
      PrefetchNode(constants, memory_.path[depth].node);
    }
  }

  // Makes the child of a root action the root, keeps its subtree and drops everything else: see
  // tree_reuse.cc. ExpandRoot comes next. Returns the number of nodes kept, the new root included.
  //   num_simulations_done  of the search that ends here
  //   action                -1, or without a child: nothing is kept
  //   legal_actions         [A] at the new root; the others' subtrees are dropped. Empty: all
  //   old_nodes             [R + 1] out: the kept nodes' indices until now; -1 beyond them
  int Advance(const SearchConstants& constants, int num_simulations_done, int action,
              std::span<const std::uint8_t> legal_actions, std::span<std::int32_t> old_nodes);
  // Nodes below the root that this search found there.
  int num_kept() const { return num_kept_; }
  bool has_kept_root() const { return has_kept_root_; }

  // Writes the policy that the search recommends, [A]: for PUCT the share of visits, for Gumbel the
  // improved policy. At least one simulation was backed up.
  void ActionWeights(const SearchConstants& constants, std::span<float> out) const;
  // The action that the search recommends: for PUCT the first with most visits, for Gumbel the one
  // with the highest sum of Gumbel variable, logit and completed Q among those with most visits.
  int BestAction(const SearchConstants& constants) const;

  // All nodes, by index.
  std::vector<NodeView> Nodes(const SearchConstants& constants, int num_simulations_done) const;

  NodeBlock Root(const SearchConstants& constants) const {
    return constants.layout.Block(memory_.blocks, 0);
  }
  // N(root, a)
  std::int16_t RootVisits(const SearchConstants& constants, std::size_t action) const {
    const std::int16_t child = Root(constants).child[action];
    return child == kNoChild ? std::int16_t{0} : Header(constants, child).visits;
  }
  NodeHeader Header(const SearchConstants& constants, int node) const {
    return *constants.layout.Block(memory_.blocks, static_cast<std::size_t>(node)).header;
  }
  bool RootHasChild(const SearchConstants& constants, std::size_t action) const {
    return Root(constants).child[action] != kNoChild;
  }
  const MinMaxStats& bounds() const { return bounds_; }
  // Gumbel: the smallest range by which completed Q is divided. That of the tree holds every Q and
  // value at any node, so it is never less than the range at one. With the range of the node the
  // bounds stay empty, and their difference is minus infinity.
  float SmallestRange(const SearchConstants& constants) const {
    return std::max(bounds_.max() - bounds_.min(), constants.gumbel.smallest_range);
  }
  int max_depth() const { return max_depth_; }

  // The operations for given parameters.
  static TreeOperations OperationsFor(const SearchParams& params, bool reuses_nodes);

 private:
  // How the bounds of Q follow the tree.
  enum class BoundsRule : std::uint8_t { kUnused, kWidened, kRecomputed, kStalePrefixes };
  // The variants of the inner loops.
  struct Rules {
    Algorithm algorithm;
    UnvisitedQ unvisited_q;
    bool exploration_counts_expansion;
    BoundsRule bounds;
    bool reuses_nodes;
  };

  template <UnvisitedQ kUnvisitedQ>
  static TreeOperations PuctOperations(const SearchParams& params, bool reuses_nodes);
  template <UnvisitedQ kUnvisitedQ, BoundsRule kBounds>
  static TreeOperations PuctOperations(const SearchParams& params, bool reuses_nodes);
  template <BoundsRule kBounds>
  static TreeOperations GumbelOperations(bool reuses_nodes);
  template <Rules kRules>
  static TreeOperations OperationsOf();
  template <Rules kRules>
  Leaf SelectBy(const SearchConstants& constants);
  template <Rules kRules>
  void BackupBy(const SearchConstants& constants, int simulation, const Answer& answer);

  [[gnu::always_inline]] void PrefetchNode(const SearchConstants& constants, int node) const {
    const std::size_t lines = constants.layout.lines_per_block();
    const CacheLine* const block = memory_.blocks + static_cast<std::size_t>(node) * lines;
    for (std::size_t i = 0; i < lines; ++i) __builtin_prefetch(block + i, 1);
  }

  // Fills block `node` and hangs it under the last step of the path.
  template <bool kReusesNodes>
  NodeBlock ExpandLeaf(const SearchConstants& constants, int node, const Answer& answer);
  template <bool kReusesNodes>
  int GumbelRootAction(const SearchConstants& constants) const;
  void ChooseNextStep(const SearchConstants& constants, int node, const NodeBlock& block);
  template <Rules kRules>
  void RecordVisit(const SearchConstants& constants, PathStep step, const NodeBlock& block, float q,
                   std::int16_t child_visits);
  void ScoreRootActions(const SearchConstants& constants, const RootInput& input);
  void MixRootNoise(const SearchConstants& constants, const RootInput& input);
  void RecomputeBounds(const SearchConstants& constants, int num_nodes);
  void RecomputeBoundsWithStalePrefixes(const SearchConstants& constants);
  void MoveNode(const SearchConstants& constants, int from, int to);
  void DropChild(const SearchConstants& constants, PathStep step, const NodeHeader& child);
  void RecomputeActions(const SearchConstants& constants, int node);
  void StartFromKeptNodes(const SearchConstants& constants, bool has_kept_nodes);
  // +1, or -1 where the network's view is that of the opponent of the player to move.
  float SignAt(int depth) const;

  TreeMemory memory_;
  CounterRandom ties_;
  CounterRandom noise_;
  MinMaxStats bounds_;
  int leaf_depth_ = 0;      // steps in memory_.path
  int max_depth_ = 0;       // depth of the deepest expanded node; the root's is 0
  int num_considered_ = 0;  // Gumbel: actions tried at the root
  int num_kept_ = 0;
  int root_visits_before_ = 1;  // N(root) before this search's first simulation
  bool has_kept_root_ = false;  // between Advance and ExpandRoot
  View view_ = View::kMover;
};

}  // namespace mcts
