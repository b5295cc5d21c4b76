#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "mcts/search_params.h"
#include "mcts/tree.h"
#include "mcts/worker_pool.h"

namespace mcts {

// Inputs of a batch's roots; an empty span is "not given".
struct RootInputs {
  std::span<const float> policy_logits = {};         // [B, A]
  std::span<const float> values = {};                // [B]
  std::span<const float> noise = {};                 // [B, A] PUCT: not negative; Gumbel: any
  std::span<const std::uint8_t> legal_actions = {};  // [B, A] 0 = illegal; not given: all are legal
  std::span<const std::int32_t> to_play = {};        // [B] 0 or 1, see View
  bool draws_noise = false;                          // each tree from its own sequence
  bool reuses_nodes = false;                         // start from the nodes that Advance kept
};

// B independent search trees that advance in lock-step, one network inference per simulation.
//
//   ExpandRoots -> (SelectLeaves -> inference by the caller -> Backup) x num_simulations -> results
//
// Simulation i = 1, 2, ... expands node i of every tree, so the caller keeps its latents in a pool
// indexed by (node, tree); this class has no latents. If nodes of the previous search are kept
// (max_reused_nodes R > 0), new nodes come after them and SelectLeaves returns their indices. All
// arrays are row-major. The caller guarantees sizes; contents and call order are checked here, and
// errors throw std::invalid_argument before anything is changed. Memory is allocated once, in the
// constructor.
//
// Not thread-safe; different objects may be used by different threads at once.
class TreeBatch {
 public:
  static constexpr int kMaxActions = mcts::kMaxActions;
  static constexpr int kMaxSimulations = 32766;  // visit counts and node indices are int16
  static constexpr int kMaxTrees = 1 << 20;
  static constexpr int kMaxThreads = 256;
  static constexpr int kTreesPerThread = 16;  // fewer are done sooner than a thread is woken

  //   seeds       [B] of the random sequences that break ties
  //   num_threads share the trees, at most one for kTreesPerThread of them; results do not depend
  //               on it
  //   max_reused_nodes  R: most nodes that Advance keeps below a root; 0: it cannot be called
  TreeBatch(int num_trees, int num_actions, int num_simulations, const SearchParams& params,
            std::span<const std::uint64_t> seeds, int num_threads = 1, int max_reused_nodes = 0);
  TreeBatch(const TreeBatch&) = delete;
  TreeBatch& operator=(const TreeBatch&) = delete;

  // Drops the trees and restarts the random sequences; the state of a new object.
  void Reset(std::span<const std::uint64_t> seeds);

  // Starts a new search in every tree. Random sequences continue.
  void ExpandRoots(const RootInputs& inputs);

  // Chooses one leaf per tree.
  //   parent_nodes   [B] node whose latent is to be expanded
  //   actions        [B] action to take there
  //   resets_prefix  [B] 1: the recurrent state that comes with the new node must be zeroed
  //   new_nodes      [B] index of the new node; empty: not wanted
  void SelectLeaves(std::span<std::int32_t> parent_nodes, std::span<std::int32_t> actions,
                    std::span<std::uint8_t> resets_prefix, std::span<std::int32_t> new_nodes = {});

  // Expands the chosen leaves with the network's answers.
  //   value_prefixes [B] (rewards, if use_value_prefix is false)
  //   values         [B]
  //   policy_logits  [B, A]
  void Backup(std::span<const float> value_prefixes, std::span<const float> values,
              std::span<const float> policy_logits);

  // Ends a search: the subtrees of the played actions become the trees that ExpandRoots may reuse.
  //   actions        [B] -1: keep nothing
  //   old_nodes      [B, R + 1] out: index until now of each kept node; -1 beyond them
  //   num_kept       [B] out: kept nodes, the new root included; 0: nothing
  //   legal_actions  [B, A] at the new roots; empty: all are legal
  void Advance(std::span<const std::int32_t> actions, std::span<std::int32_t> old_nodes,
               std::span<std::int32_t> num_kept, std::span<const std::uint8_t> legal_actions = {});

  void VisitCounts(std::span<std::int32_t> out) const;   // [B, A] of the root's actions
  void ChildQ(std::span<float> out) const;               // [B, A] of the root's; NaN: not visited
  void ActionWeights(std::span<float> out) const;        // [B, A] recommended policy
  void BestActions(std::span<std::int32_t> out) const;   // [B] recommended action
  void RootValues(std::span<float> out) const;           // [B] mean return, own prediction included
  void SearchDepths(std::span<std::int32_t> out) const;  // [B] depth of the deepest node

  // All nodes of one tree, by index, for inspection.
  std::vector<NodeView> Nodes(int tree) const;

  int num_trees() const { return num_trees_; }
  int num_actions() const { return num_actions_; }
  int num_simulations() const { return num_simulations_; }
  int max_reused_nodes() const { return constants_.max_reused_nodes; }
  int num_threads() const { return num_threads_; }
  int num_simulations_done() const { return num_simulations_done_; }
  // (M + 1) * (block + 4) + 4 * M bytes, rounded up to cache lines, and the Tree itself; a block is
  // 14 * Ap + 16 bytes rounded up to cache lines, Ap is A rounded up to eights. Gumbel adds
  // 4 * (M + 1) + 4 * Ap before the second rounding. With R > 0, M is M + R, and 2 * (M + R + 1)
  // are added there, and for Gumbel 4 * Ap once more.
  std::size_t bytes_per_tree() const { return lines_per_tree_ * sizeof(CacheLine) + sizeof(Tree); }
  // For callers that must keep two threads apart; not used in here.
  std::atomic<bool>& is_busy() const { return is_busy_; }
  const Tree& tree(int index) const { return trees_[static_cast<std::size_t>(index)]; }
  const SearchConstants& constants() const { return constants_; }

 private:
  enum class Expects { kExpandRoots, kSelectLeaves, kBackup };

  // Calls work(index, tree) for every tree, from several threads.
  template <typename Work>
  void ForEachTree(const Work& work);
  template <typename Work>
  void ForEachTree(const Work& work) const;
  void CheckHasRoots() const;
  void CheckHasSimulations() const;
  void CheckRootInputs(const RootInputs& inputs) const;
  void CheckReuse(const RootInputs& inputs) const;
  void CheckAnswers(std::span<const float> value_prefixes, std::span<const float> values,
                    std::span<const float> policy_logits) const;
  void CheckAdvance(std::span<const std::int32_t> actions,
                    std::span<const std::uint8_t> legal_actions) const;

  int num_trees_;
  int num_actions_;
  int num_simulations_;
  int num_players_;
  SearchConstants constants_;
  std::size_t lines_per_tree_;
  // [B, lines_per_tree_], per tree one after the other: blocks, value prefixes, path; for Gumbel
  // also next steps and root scores.
  std::vector<CacheLine> memory_;
  std::vector<Tree> trees_;  // [B]
  int num_threads_;
  // In another cache line than the members that all threads read in every loop.
  alignas(64) Expects expects_ = Expects::kExpandRoots;
  int num_simulations_done_ = 0;
  bool has_advanced_ = false;  // Advance was the latest call
  mutable std::atomic<bool> is_busy_ = false;
  mutable WorkerPool pool_;
};

}  // namespace mcts
