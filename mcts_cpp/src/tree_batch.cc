#include "mcts/tree_batch.h"

#include <algorithm>
#include <string_view>

#include "refuse.h"

namespace mcts {
namespace {

int Checked(std::string_view name, int got, int highest) {
  if (got < 1 || got > highest) Refuse(name, ": got ", got, ", wanted 1 to ", highest);
  return got;
}

const SearchParams& Checked(const SearchParams& params) {
  CheckSearchParams(params);
  return params;
}

View ViewOf(std::span<const std::int32_t> to_play, std::size_t tree) {
  if (to_play.empty()) return View::kMover;
  return to_play[tree] == 0 ? View::kPlayer0Begins : View::kPlayer1Begins;
}

std::size_t NumNodes(const SearchConstants& constants, int num_simulations) {
  return static_cast<std::size_t>(num_simulations + constants.max_reused_nodes) + 1;
}

std::size_t LinesPerTree(const SearchConstants& constants, int num_simulations) {
  const std::size_t nodes = NumNodes(constants, num_simulations);
  const std::size_t padded_actions = constants.layout.padded_actions();
  const bool is_gumbel = constants.algorithm == Algorithm::kGumbel;
  const bool reuses_nodes = constants.max_reused_nodes > 0;
  static_assert(sizeof(NextStep) == sizeof(float));  // MemoryAt counts in floats
  const std::size_t bytes = nodes * sizeof(float) + (nodes - 1) * sizeof(PathStep) +
                            (is_gumbel ? (nodes + padded_actions) * sizeof(float) : 0) +
                            (is_gumbel && reuses_nodes ? padded_actions * sizeof(float) : 0) +
                            (reuses_nodes ? nodes * sizeof(std::int16_t) : 0);
  return nodes * constants.layout.lines_per_block() +
         (bytes + sizeof(CacheLine) - 1) / sizeof(CacheLine);
}

TreeMemory MemoryAt(CacheLine* start, const SearchConstants& constants, int num_simulations) {
  const std::size_t nodes = NumNodes(constants, num_simulations);
  const bool reuses_nodes = constants.max_reused_nodes > 0;
  auto* const prefixes =
      reinterpret_cast<float*>(start + nodes * constants.layout.lines_per_block());
  auto* const path = reinterpret_cast<PathStep*>(prefixes + nodes);
  TreeMemory memory{.blocks = start, .value_prefixes = prefixes, .path = path};
  auto* end = reinterpret_cast<float*>(path + nodes - 1);
  if (constants.algorithm == Algorithm::kGumbel) {
    memory.next_steps = reinterpret_cast<NextStep*>(end);
    memory.root_scores = end + nodes;
    end = memory.root_scores + constants.layout.padded_actions();
    if (reuses_nodes) {
      memory.visits_before = end;
      end += constants.layout.padded_actions();
    }
  }
  if (reuses_nodes) memory.phases = reinterpret_cast<std::int16_t*>(end);
  return memory;
}

int CheckedReuse(int got, int num_simulations, const SearchParams& params) {
  const int highest = TreeBatch::kMaxSimulations - num_simulations;
  if (got < 0 || got > highest) {
    Refuse("max_reused_nodes: got ", got, ", wanted 0 to ", highest);
  }
  if (got > 0 && params.stale_prefix_bounds) {
    Refuse("max_reused_nodes: got ", got, " with stale_prefix_bounds, wanted 0");
  }
  return got;
}

}  // namespace

TreeBatch::TreeBatch(int num_trees, int num_actions, int num_simulations,
                     const SearchParams& params, std::span<const std::uint64_t> seeds,
                     int num_threads, int max_reused_nodes)
    : num_trees_(Checked("num_trees", num_trees, kMaxTrees)),
      num_actions_(Checked("num_actions", num_actions, kMaxActions)),
      num_simulations_(Checked("num_simulations", num_simulations, kMaxSimulations)),
      num_players_(params.num_players),
      constants_(num_actions, num_simulations, Checked(params),
                 CheckedReuse(max_reused_nodes, num_simulations, params)),
      lines_per_tree_(LinesPerTree(constants_, num_simulations)),
      memory_(static_cast<std::size_t>(num_trees) * lines_per_tree_),
      num_threads_(std::min(Checked("num_threads", num_threads, kMaxThreads),
                            std::max(1, num_trees / kTreesPerThread))),
      pool_(num_threads_) {
  trees_.reserve(static_cast<std::size_t>(num_trees));
  Reset(seeds);
}

template <typename Work>
void TreeBatch::ForEachTree(const Work& work) {
  pool_.Run(trees_.size(), [this, &work](std::size_t begin, std::size_t end) {
    for (std::size_t index = begin; index < end; ++index) work(index, trees_[index]);
  });
}

template <typename Work>
void TreeBatch::ForEachTree(const Work& work) const {
  pool_.Run(trees_.size(), [this, &work](std::size_t begin, std::size_t end) {
    for (std::size_t index = begin; index < end; ++index) work(index, trees_[index]);
  });
}

void TreeBatch::Reset(std::span<const std::uint64_t> seeds) {
  trees_.clear();
  for (std::size_t tree = 0; tree < static_cast<std::size_t>(num_trees_); ++tree) {
    CacheLine* const start = &memory_[tree * lines_per_tree_];
    trees_.emplace_back(MemoryAt(start, constants_, num_simulations_), seeds[tree]);
  }
  expects_ = Expects::kExpandRoots;
  num_simulations_done_ = 0;
  has_advanced_ = false;
}

void TreeBatch::ExpandRoots(const RootInputs& inputs) {
  CheckRootInputs(inputs);
  const auto row = [num_actions = constants_.num_actions](auto span, std::size_t tree) {
    return span.empty() ? span : span.subspan(tree * num_actions, num_actions);
  };
  ForEachTree([&](std::size_t index, Tree& tree) {
    tree.ExpandRoot(constants_, {.policy_logits = row(inputs.policy_logits, index),
                                 .value = inputs.values[index],
                                 .noise = row(inputs.noise, index),
                                 .legal_actions = row(inputs.legal_actions, index),
                                 .view = ViewOf(inputs.to_play, index),
                                 .draws_noise = inputs.draws_noise,
                                 .reuses_nodes = inputs.reuses_nodes});
  });
  expects_ = Expects::kSelectLeaves;
  num_simulations_done_ = 0;
  has_advanced_ = false;
}

void TreeBatch::SelectLeaves(std::span<std::int32_t> parent_nodes, std::span<std::int32_t> actions,
                             std::span<std::uint8_t> resets_prefix,
                             std::span<std::int32_t> new_nodes) {
  CheckHasRoots();
  if (expects_ == Expects::kBackup) Refuse("select_leaves: got a second call, wanted backup first");
  if (num_simulations_done_ == num_simulations_) {
    Refuse("select_leaves: got simulation ", num_simulations_ + 1, ", wanted at most ",
           num_simulations_);
  }
  ForEachTree([&](std::size_t index, Tree& tree) {
    const Leaf leaf = tree.Select(constants_);
    parent_nodes[index] = leaf.parent_node;
    actions[index] = leaf.action;
    resets_prefix[index] = leaf.resets_prefix ? 1 : 0;
  });
  for (std::size_t index = 0; index < new_nodes.size(); ++index) {
    new_nodes[index] = trees_[index].num_kept() + num_simulations_done_ + 1;
  }
  expects_ = Expects::kBackup;
}

void TreeBatch::Backup(std::span<const float> value_prefixes, std::span<const float> values,
                       std::span<const float> policy_logits) {
  CheckAnswers(value_prefixes, values, policy_logits);
  ++num_simulations_done_;
  const std::size_t row = constants_.num_actions;
  ForEachTree([&](std::size_t index, Tree& tree) {
    if (index + 1 < trees_.size()) {
      trees_[index + 1].PrefetchBackup(constants_, num_simulations_done_);
    }
    tree.Backup(constants_, num_simulations_done_,
                {value_prefixes[index], values[index], policy_logits.subspan(index * row, row)});
  });
  expects_ = Expects::kSelectLeaves;
}

void TreeBatch::Advance(std::span<const std::int32_t> actions, std::span<std::int32_t> old_nodes,
                        std::span<std::int32_t> num_kept,
                        std::span<const std::uint8_t> legal_actions) {
  CheckAdvance(actions, legal_actions);
  const auto row = static_cast<std::size_t>(max_reused_nodes()) + 1;
  ForEachTree([&](std::size_t index, Tree& tree) {
    const auto legal = legal_actions.empty() ? legal_actions
                                             : legal_actions.subspan(index * constants_.num_actions,
                                                                     constants_.num_actions);
    num_kept[index] = tree.Advance(constants_, num_simulations_done_, actions[index], legal,
                                   old_nodes.subspan(index * row, row));
  });
  expects_ = Expects::kExpandRoots;
  num_simulations_done_ = 0;
  has_advanced_ = true;
}

void TreeBatch::VisitCounts(std::span<std::int32_t> out) const {
  CheckHasRoots();
  ForEachTree([&](std::size_t index, const Tree& tree) {
    for (std::size_t action = 0; action < constants_.num_actions; ++action) {
      out[index * constants_.num_actions + action] = tree.RootVisits(constants_, action);
    }
  });
}

void TreeBatch::ActionWeights(std::span<float> out) const {
  CheckHasSimulations();
  const std::size_t row = constants_.num_actions;
  ForEachTree([&](std::size_t index, const Tree& tree) {
    tree.ActionWeights(constants_, out.subspan(index * row, row));
  });
}

void TreeBatch::BestActions(std::span<std::int32_t> out) const {
  CheckHasSimulations();
  ForEachTree(
      [&](std::size_t index, const Tree& tree) { out[index] = tree.BestAction(constants_); });
}

void TreeBatch::ChildQ(std::span<float> out) const {
  CheckHasRoots();
  const std::size_t row = constants_.num_actions;
  ForEachTree([&](std::size_t index, const Tree& tree) {
    std::copy_n(tree.Root(constants_).q, row, &out[index * row]);
  });
}

void TreeBatch::RootValues(std::span<float> out) const {
  CheckHasRoots();
  ForEachTree([&](std::size_t index, const Tree& tree) {
    const NodeHeader root = tree.Header(constants_, 0);
    out[index] = root.value_sum / static_cast<float>(root.visits);
  });
}

void TreeBatch::SearchDepths(std::span<std::int32_t> out) const {
  CheckHasRoots();
  ForEachTree([&](std::size_t index, const Tree& tree) { out[index] = tree.max_depth(); });
}

std::vector<NodeView> TreeBatch::Nodes(int tree) const {
  CheckHasRoots();
  if (tree < 0 || tree >= num_trees_) {
    Refuse("tree: got ", tree, ", wanted 0 to ", num_trees_ - 1);
  }
  return trees_[static_cast<std::size_t>(tree)].Nodes(constants_, num_simulations_done_);
}

}  // namespace mcts
