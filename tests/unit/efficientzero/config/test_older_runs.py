"""A field that is added leaves the hashes and the group names of older runs as they are."""

from efficientzero.config import Config, experiment_values, hyperparameters
from efficientzero.config.files import _NOT_IN_OLDER_HASHES
from efficientzero.runs.name_parts import short_names

FIRST_RELEASE = {
    "env": "id num_stacked_frames clip_rewards max_episode_steps final_eval_max_episode_steps",
    "env.atari": """frame_skip image_size grayscale noop_max sticky_action_probability episodic_life
        full_action_space""",
    "budget": "env_steps warmup_env_steps train_steps last_train_steps max_env_steps_ahead",
    "agent": "discount num_unroll_steps td_steps value_prefix value_prefix_horizon",
    "network": """channels num_blocks reduced_channels mlp_latent_size mlp_hidden_size
        head_hidden_size lstm_hidden_size projector_hidden_size projection_size
        predictor_hidden_size support_bound batch_norm_momentum categorical_values
        zero_init_heads""",
    "search": """num_simulations algorithm pb_c_init pb_c_base root_dirichlet_alpha
        root_exploration_fraction value_delta_max normalize_q unvisited_q
        gumbel_max_considered_actions gumbel_maxvisit_init gumbel_value_scale precision""",
    "compat": """stale_prefix_bounds root_visit_without_value block_length random_first_child
        truncation_is_terminal gradient_scaling target_weights_lag transition_age jpeg_frames""",
    "actor": "num_envs temperatures temperature_fractions",
    "replay": """capacity priority_exponent importance_exponent importance_exponent_final
        initial_priority priority_refresh_share frames_per_block queue_size""",
    "reanalyzer": """policy_reanalyze_ratio value_bootstrap off_policy_correction off_policy_tau
        search_batch_size""",
    "learner": """batch_size optimizer trust_coefficient learning_rate lr_warmup_fraction
        lr_decay_rate lr_decay_steps momentum weight_decay max_grad_norm value_prefix_coefficient
        value_coefficient policy_coefficient consistency_coefficient augmentation shift_pixels
        intensity_scale independent_augmentation publish_interval target_interval
        max_batch_staleness weights_dtype precision""",
    "evaluator": "interval_train_steps num_episodes final_num_episodes",
}
"""Fields in every hash, by section."""

NAMED_WITH_SECTION = {
    *("search.precision", "learner.precision", "learner.consistency"),
    "league.capacity",  # replay.capacity had the name first, and keeps it
}
"""Fields whose last part is not theirs alone (consistency abbreviates consistency_coefficient). A
new one must not bring a field that is in older groups here: that would rename it."""


def test_a_field_is_of_the_first_release_or_left_out_of_hashes_at_its_default():
    first = {f"{part}.{name}" for part, names in FIRST_RELEASE.items() for name in names.split()}
    later = set(_NOT_IN_OLDER_HASHES)
    values = hyperparameters(Config())
    assert set(values) - later == first
    assert {key: values[key] for key in later} == _NOT_IN_OLDER_HASHES


def test_a_field_is_named_in_groups_by_its_last_part_as_in_older_ones():
    names = short_names(list(experiment_values(Config())))
    renamed = {key for key, name in names.items() if name != key.rpartition(".")[2]}
    assert renamed == NAMED_WITH_SECTION
