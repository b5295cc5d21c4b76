"""The pages on switches name every field of the configuration that is a component, and no other."""

import re
from pathlib import Path

import pytest

from efficientzero.config.fields import Config
from efficientzero.config.files import PRESETS, config_to_dict, flatten

ROOT = Path(__file__).parents[2]
DEFAULTS = flatten(config_to_dict(Config()))
FIELDS = set(DEFAULTS)

NO_COMPONENT_SECTIONS = ("budget", "cluster", "evaluator", "tracking")
"""How long, where and how often, not how."""

NO_COMPONENT_FIELDS = {
    # Names.
    *("seed", "preset", "env.id"),
    # Sizes that every agent of this kind has.
    *("agent.discount", "agent.num_unroll_steps", "agent.td_steps"),
    *("env.num_stacked_frames", "env.max_episode_steps", "env.final_eval_max_episode_steps"),
    *("env.action_repeat", "env.atari.frame_skip", "env.atari.image_size"),
    *("network.channels", "network.num_blocks", "network.reduced_channels"),
    *("network.mlp_latent_size", "network.mlp_hidden_size", "network.head_hidden_size"),
    "network.action_value_hidden_size",
    *("network.lstm_hidden_size", "network.projector_hidden_size", "network.projection_size"),
    *("network.predictor_hidden_size", "network.support_bound", "network.batch_norm_momentum"),
    *("search.num_simulations", "actor.num_envs", "replay.capacity"),
    *("learner.batch_size", "learner.learning_rate", "learner.lr_decay_steps"),
    # How to compute, store or report.
    *("search.num_threads", "search.inference_backend", "search.precision", "actor.pipeline"),
    *("replay.frames_per_block", "replay.queue_size"),
    "reanalyzer.search_batch_size",
    *("learner.publish_interval", "learner.target_interval", "learner.checkpoint_interval"),
    *("learner.checkpoints_kept", "learner.log_interval", "learner.precision"),
    *("learner.weights_dtype", "learner.num_devices", "learner.compile"),
}


def fields_in_first_column(page: str) -> list[str]:
    """Return what the rows of the page's tables are about."""
    return re.findall(
        r"^\| `([a-z_.]+)` \|", (ROOT / "docs" / "reference" / page).read_text(), re.MULTILINE
    )


def test_every_component_has_exactly_one_line_and_every_line_a_component():
    no_component = NO_COMPONENT_FIELDS | {
        field for field in FIELDS if field.partition(".")[0] in NO_COMPONENT_SECTIONS
    }
    assert NO_COMPONENT_FIELDS <= FIELDS
    assert sorted(fields_in_first_column("switches.md")) == sorted(FIELDS - no_component)


def test_defaults_in_the_page_of_switches_are_those_of_the_code():
    text = (ROOT / "docs" / "reference" / "switches.md").read_text()
    rows = re.findall(r"^\| `([a-z_.]+)` \| ([^|:]+)[^|]* \| [^|]+ \|$", text, re.MULTILINE)
    assert len(rows) > 50
    assert {name: cell.strip() for name, cell in rows if not says(cell, DEFAULTS[name])} == {}


def says(cell: str, default: object) -> bool:
    """Return whether a cell of the page shows the default."""
    match default:
        case bool():
            return cell.strip() == ("on" if default else "off")
        case int() | float():
            return float(cell) == default
        case list() | tuple():
            words = cell.split(",") if cell.strip() != "none" else []
            return [word.strip() for word in words] == [
                f"{entry:g}" if isinstance(entry, float) else entry for entry in default
            ]
        case _:
            return cell.strip() == default


def test_the_page_on_the_reference_has_all_its_defects_and_all_compat_switches():
    text = (ROOT / "docs" / "reference" / "compat.md").read_text()
    assert re.findall(r"^\| (D\d+) \|", text, re.MULTILINE) == [f"D{i}" for i in range(1, 22)]
    for field in FIELDS:
        if field.startswith("compat."):
            assert f"`--{field.replace('_', '-')}" in text, field


@pytest.mark.parametrize("page", ["compat.md", "switches.md"])
def test_options_named_in_the_pages_exist(page):
    text = (ROOT / "docs" / "reference" / page).read_text()
    options = {o.replace("-", "_") for o in re.findall(r"--([a-z]+(?:\.[a-z-]+)+)", text)}
    without_no = {option.replace(".no_", ".") for option in options}
    unknown = {o for o in without_no if o not in FIELDS and not o.endswith("_")}
    assert unknown == set()
    starts = {o for o in without_no if o.endswith("_")}  # as in --learner.lr-*
    assert all(any(field.startswith(start) for field in FIELDS) for start in starts)


def test_every_preset_is_in_the_readme():
    text = (ROOT / "README.md").read_text()
    listed = re.findall(r"^\| `([a-z0-9-]+)` \|", text, re.MULTILINE)[: len(PRESETS)]
    assert sorted(listed) == sorted(PRESETS)


MADE_BY_THE_READER = {
    *("efficientzero/envs/coin.py", "efficientzero/networks/fourier_trunk.py"),
    *("efficientzero/search/lookahead.py", "learner/training/losses/policy_entropy.py"),
    "reanalyzer/targets/stored.py",
    "docs/results/catch/simulations.png",
    "docs/results/minatar/minatar-100k.md",
}
"""Files that the pages tell their reader to write."""


def test_every_file_that_a_page_names_exists():
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "benchmarks" / "README.md"]
    folders = "actor|benchmarks|deploy|docs|efficientzero|learner|reanalyzer|replay|tests"
    endings = "py|toml|ya?ml|sh|cc|h|csv|md|png|sbatch"
    named = re.compile(rf"(?<![\w./-])((?:{folders})/[\w./-]+\.(?:{endings}))\b")
    missing = {
        f"{page.relative_to(ROOT)}: {name}"
        for page in pages
        for name in named.findall(page.read_text())
        if name not in MADE_BY_THE_READER and not (ROOT / name).exists()
    }
    assert missing == set()


def test_every_config_class_that_a_page_places_in_a_file_is_there():
    for page in (ROOT / "docs" / "extend").glob("*.md"):
        text = " ".join(page.read_text().split())
        for name, path in re.findall(
            r"`(\w+Config)\b[^`]*`[^()`]*\(`(efficientzero/config/\w+\.py)`", text
        ):
            assert f"class {name}:" in (ROOT / path).read_text(), f"{page.name}: {name} in {path}"
