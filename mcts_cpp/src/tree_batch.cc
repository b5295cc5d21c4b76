#include "mcts/tree_batch.h"

#include <algorithm>
#include <cmath>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace mcts {
namespace {

// Larger numbers are a broken network; below it no sum in the tree can overflow to infinity.
constexpr float kMaxMagnitude = 1e25F;

template <typename... Parts>
[[noreturn]] void Refuse(const Parts&... parts) {
  std::ostringstream message;
  (message << ... << parts);
  throw std::invalid_argument(message.str());
}

int Checked(std::string_view name, int got, int highest) {
  if (got < 1 || got > highest) Refuse(name, ": got ", got, ", wanted 1 to ", highest);
  return got;
}

const SearchParams& Checked(const SearchParams& params) {
  CheckSearchParams(params);
  return params;
}

// One pass without branches; the position of a bad number is looked up only when there is one.
void CheckNumbers(std::string_view name, std::span<const float> numbers, float lowest) {
  unsigned num_bad = 0;
  for (const float x : numbers) {
    num_bad += static_cast<unsigned>(!(x >= lowest)) | static_cast<unsigned>(!(x <= kMaxMagnitude));
  }
  if (num_bad == 0) return;
  const auto is_bad = [lowest](float x) { return !(x >= lowest && x <= kMaxMagnitude); };
  const auto bad = std::find_if(numbers.begin(), numbers.end(), is_bad);
  Refuse(name, ": got ", *bad, " at flat index ", bad - numbers.begin(),
         ", wanted finite numbers in [", lowest, ", ", kMaxMagnitude, "]");
}

// Every root needs a legal action, and noise on one if there is noise.
void CheckLegalActions(std::span<const std::uint8_t> legal_actions, std::span<const float> noise,
                       std::size_t num_trees, std::size_t num_actions) {
  for (std::size_t tree = 0; tree < num_trees; ++tree) {
    bool has_legal = legal_actions.empty();
    bool has_noise = noise.empty();
    for (std::size_t i = tree * num_actions; i < (tree + 1) * num_actions; ++i) {
      const bool is_legal = legal_actions.empty() || legal_actions[i] != 0;
      has_legal = has_legal || is_legal;
      has_noise = has_noise || (is_legal && noise[i] > 0.0F);
    }
    if (!has_legal) Refuse("legal_actions: got none in row ", tree, ", wanted at least one");
    if (!has_noise) {
      Refuse("noise: got 0 for all legal actions of row ", tree, ", wanted one above 0");
    }
  }
}

void CheckToPlay(std::span<const std::int32_t> to_play, int num_players) {
  if (!to_play.empty() && num_players != 2) {
    Refuse("to_play: got an array with num_players ", num_players, ", wanted num_players 2");
  }
  for (std::size_t tree = 0; tree < to_play.size(); ++tree) {
    if (to_play[tree] == 0 || to_play[tree] == 1) continue;
    Refuse("to_play: got ", to_play[tree], " in row ", tree, ", wanted 0 or 1");
  }
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
    memory.network_values = end;
    memory.root_scores = memory.network_values + nodes;
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

// What was kept below an action cannot be taken back here: the caller has moved its latents.
void TreeBatch::CheckReuse(const RootInputs& inputs) const {
  if (!inputs.reuses_nodes) return;
  if (!has_advanced_) Refuse("reuse: got true without kept trees, wanted advance first");
  for (std::size_t i = 0; i < inputs.legal_actions.size(); ++i) {
    const Tree& tree = trees_[i / constants_.num_actions];
    const std::size_t action = i % constants_.num_actions;
    if (inputs.legal_actions[i] != 0 || !tree.has_kept_root()) continue;
    if (!tree.RootHasChild(constants_, action)) continue;
    Refuse("legal_actions: got action ", action, " illegal in row ", i / constants_.num_actions,
           ", which advance kept, wanted the same legal_actions in both calls");
  }
}

void TreeBatch::CheckRootInputs(const RootInputs& inputs) const {
  CheckNumbers("policy_logits", inputs.policy_logits, -kMaxMagnitude);
  CheckNumbers("values", inputs.values, -kMaxMagnitude);
  const bool is_gumbel = constants_.algorithm == Algorithm::kGumbel;
  CheckNumbers("noise", inputs.noise, is_gumbel ? -kMaxMagnitude : 0.0F);
  if (inputs.draws_noise && !inputs.noise.empty()) {
    Refuse("noise: got an array with draw_noise, wanted one of the two");
  }
  CheckLegalActions(inputs.legal_actions, is_gumbel ? std::span<const float>() : inputs.noise,
                    trees_.size(), constants_.num_actions);
  CheckToPlay(inputs.to_play, num_players_);
  CheckReuse(inputs);
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
  if (expects_ != Expects::kBackup)
    Refuse("backup: got no selected leaves, wanted select_leaves first");
  CheckNumbers("value_prefixes", value_prefixes, -kMaxMagnitude);
  CheckNumbers("values", values, -kMaxMagnitude);
  CheckNumbers("policy_logits", policy_logits, -kMaxMagnitude);
  ++num_simulations_done_;
  const std::size_t row = constants_.num_actions;
  ForEachTree([&](std::size_t index, Tree& tree) {
    tree.Backup(constants_, num_simulations_done_,
                {value_prefixes[index], values[index], policy_logits.subspan(index * row, row)});
  });
  expects_ = Expects::kSelectLeaves;
}

void TreeBatch::CheckAdvance(std::span<const std::int32_t> actions,
                             std::span<const std::uint8_t> legal_actions) const {
  if (max_reused_nodes() == 0) Refuse("advance: got max_reused_nodes 0, wanted at least 1");
  CheckHasRoots();
  if (expects_ == Expects::kBackup) Refuse("advance: got selected leaves, wanted backup first");
  for (std::size_t tree = 0; tree < actions.size(); ++tree) {
    if (actions[tree] >= -1 && actions[tree] < num_actions_) continue;
    Refuse("actions: got ", actions[tree], " in row ", tree, ", wanted -1 to ", num_actions_ - 1);
  }
  CheckLegalActions(legal_actions, {}, trees_.size(), constants_.num_actions);
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

void TreeBatch::CheckHasRoots() const {
  if (expects_ == Expects::kExpandRoots)
    Refuse("got trees without roots, wanted expand_roots first");
}

void TreeBatch::CheckHasSimulations() const {
  CheckHasRoots();
  if (num_simulations_done_ == 0) Refuse("got trees without simulations, wanted backup first");
}

}  // namespace mcts
