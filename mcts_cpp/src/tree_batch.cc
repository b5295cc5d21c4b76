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

}  // namespace

TreeBatch::TreeBatch(int num_trees, int num_actions, int num_simulations,
                     const SearchParams& params, std::span<const std::uint64_t> seeds)
    : num_trees_(Checked("num_trees", num_trees, kMaxTrees)),
      num_actions_(Checked("num_actions", num_actions, kMaxActions)),
      num_simulations_(Checked("num_simulations", num_simulations, kMaxSimulations)),
      constants_(num_actions, num_simulations, Checked(params)) {
  const auto trees = static_cast<std::size_t>(num_trees);
  const auto simulations = static_cast<std::size_t>(num_simulations);
  blocks_.resize(trees * (simulations + 1) * constants_.layout.lines_per_block());
  value_prefixes_.resize(trees * (simulations + 1));
  paths_.resize(trees * simulations);
  trees_.reserve(trees);
  Reset(seeds);
}

void TreeBatch::Reset(std::span<const std::uint64_t> seeds) {
  const auto simulations = static_cast<std::size_t>(num_simulations_);
  const std::size_t lines_per_tree = (simulations + 1) * constants_.layout.lines_per_block();
  trees_.clear();
  for (std::size_t tree = 0; tree < static_cast<std::size_t>(num_trees_); ++tree) {
    const TreeMemory memory{&blocks_[tree * lines_per_tree],
                            &value_prefixes_[tree * (simulations + 1)],
                            &paths_[tree * simulations]};
    trees_.emplace_back(memory, seeds[tree]);
  }
  expects_ = Expects::kExpandRoots;
  num_simulations_done_ = 0;
}

void TreeBatch::ExpandRoots(std::span<const float> policy_logits, std::span<const float> values,
                            std::span<const float> noise,
                            std::span<const std::uint8_t> legal_actions) {
  CheckNumbers("policy_logits", policy_logits, -kMaxMagnitude);
  CheckNumbers("values", values, -kMaxMagnitude);
  CheckNumbers("noise", noise, 0.0F);
  const std::size_t row = constants_.num_actions;
  CheckLegalActions(legal_actions, noise, trees_.size(), row);
  for (std::size_t tree = 0; tree < trees_.size(); ++tree) {
    const auto noise_row = noise.empty() ? noise : noise.subspan(tree * row, row);
    const auto legal_row =
        legal_actions.empty() ? legal_actions : legal_actions.subspan(tree * row, row);
    trees_[tree].ExpandRoot(constants_, policy_logits.subspan(tree * row, row), values[tree],
                            noise_row, legal_row);
  }
  expects_ = Expects::kSelectLeaves;
  num_simulations_done_ = 0;
}

void TreeBatch::SelectLeaves(std::span<std::int32_t> parent_nodes, std::span<std::int32_t> actions,
                             std::span<std::uint8_t> resets_prefix) {
  CheckHasRoots();
  if (expects_ == Expects::kBackup) Refuse("select_leaves: got a second call, wanted backup first");
  if (num_simulations_done_ == num_simulations_) {
    Refuse("select_leaves: got simulation ", num_simulations_ + 1, ", wanted at most ",
           num_simulations_);
  }
  for (std::size_t tree = 0; tree < trees_.size(); ++tree) {
    const Leaf leaf = trees_[tree].Select(constants_);
    parent_nodes[tree] = leaf.parent_node;
    actions[tree] = leaf.action;
    resets_prefix[tree] = leaf.resets_prefix ? 1 : 0;
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
  for (std::size_t tree = 0; tree < trees_.size(); ++tree) {
    trees_[tree].Backup(constants_, num_simulations_done_, value_prefixes[tree], values[tree],
                        policy_logits.subspan(tree * row, row));
  }
  expects_ = Expects::kSelectLeaves;
}

void TreeBatch::VisitCounts(std::span<std::int32_t> out) const {
  CheckHasRoots();
  std::size_t i = 0;
  for (const Tree& tree : trees_) {
    const NodeBlock root = tree.Root(constants_);
    for (std::size_t action = 0; action < constants_.num_actions; ++action) {
      const std::int16_t child = root.child[action];
      out[i++] = child == kNoChild ? 0 : tree.Header(constants_, child).visits;
    }
  }
}

void TreeBatch::ChildQ(std::span<float> out) const {
  CheckHasRoots();
  float* row = out.data();
  for (const Tree& tree : trees_) {
    row = std::copy_n(tree.Root(constants_).q, constants_.num_actions, row);
  }
}

void TreeBatch::RootValues(std::span<float> out) const {
  CheckHasRoots();
  std::transform(trees_.begin(), trees_.end(), out.begin(), [this](const Tree& tree) {
    const NodeHeader root = tree.Header(constants_, 0);
    return root.value_sum / static_cast<float>(root.visits);
  });
}

void TreeBatch::SearchDepths(std::span<std::int32_t> out) const {
  CheckHasRoots();
  std::transform(trees_.begin(), trees_.end(), out.begin(),
                 [](const Tree& tree) { return tree.max_depth(); });
}

void TreeBatch::CheckHasRoots() const {
  if (expects_ == Expects::kExpandRoots)
    Refuse("got trees without roots, wanted expand_roots first");
}

}  // namespace mcts
