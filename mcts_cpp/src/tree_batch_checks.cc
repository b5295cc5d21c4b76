// Checks of TreeBatch's inputs: numbers that are not finite, roots without a legal action, calls
// out of order. Nothing is changed here.

#include <algorithm>
#include <string_view>

#include "mcts/tree_batch.h"
#include "refuse.h"

namespace mcts {
namespace {

// Larger numbers are a broken network; below it no sum in the tree can overflow to infinity.
constexpr float kMaxMagnitude = 1e25F;

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

}  // namespace

void TreeBatch::CheckHasRoots() const {
  if (expects_ == Expects::kExpandRoots)
    Refuse("got trees without roots, wanted expand_roots first");
}

void TreeBatch::CheckHasSimulations() const {
  CheckHasRoots();
  if (num_simulations_done_ == 0) Refuse("got trees without simulations, wanted backup first");
}

// Nodes kept below an action cannot be dropped here: the caller has moved its latents.
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

void TreeBatch::CheckAnswers(std::span<const float> value_prefixes, std::span<const float> values,
                             std::span<const float> policy_logits) const {
  if (expects_ != Expects::kBackup)
    Refuse("backup: got no selected leaves, wanted select_leaves first");
  CheckNumbers("value_prefixes", value_prefixes, -kMaxMagnitude);
  CheckNumbers("values", values, -kMaxMagnitude);
  CheckNumbers("policy_logits", policy_logits, -kMaxMagnitude);
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

}  // namespace mcts
