"""The site's hooks: links between the repository's files, generated pages; and what pages name."""

import logging
import re
from pathlib import Path

import pytest

from docs.site.generate import (
    COMMAND_LINE_PAGE,
    CONFIG_PAGE,
    OUTSIDE_PAGES,
    config_page,
    site_links,
)
from efficientzero.config.fields import Config
from efficientzero.config.files import config_to_dict, flatten

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for folder in (ROOT, ROOT / "docs", ROOT / "benchmarks", ROOT / "mcts_cpp")
    for path in (folder.glob("*.md") if folder == ROOT else folder.rglob("*.md"))
)

GENERATED = {ROOT / "docs" / uri for uri in (COMMAND_LINE_PAGE, CONFIG_PAGE)}
TOP_FOLDERS = {path.name for path in ROOT.iterdir() if path.is_dir()} - {"runs", "build", "wandb"}


@pytest.mark.parametrize(
    "link, wanted",
    [
        ("[a](../switches.md)", "[a](../switches.md)"),
        ("[a](https://example.org/x.md)", "[a](https://example.org/x.md)"),
        ("[a](#here)", "[a](#here)"),
        ("[a](../../ARCHITECTURE.md#decisions)", "[a](../design/architecture.md#decisions)"),
        ("[the launcher](../../launch.py)", "the launcher (`launch.py`)"),
        ("[`launch.py`](../../launch.py)", "`launch.py`"),
    ],
)
def test_a_link_of_docs_leads_to_the_page_or_becomes_the_file_name(link, wanted):
    page = ROOT / "docs" / "guide" / "search.md"
    assert site_links(link, page, "guide/search.md") == wanted


def test_links_of_a_page_outside_docs_lead_to_the_pages_of_the_site():
    text = "[a](docs/reference/compat.md#the-pace) ![b](docs/results/catch/catch.png)"
    uri = OUTSIDE_PAGES["ARCHITECTURE.md"]
    assert site_links(text, ROOT / "ARCHITECTURE.md", uri) == (
        "[a](../reference/compat.md#the-pace) ![b](../results/catch/catch.png)"
    )


def test_a_link_to_nothing_is_a_warning_which_the_build_takes_for_an_error(caplog):
    with caplog.at_level(logging.WARNING, logger="mkdocs"):
        site_links("[a](docs/nowhere.md)", ROOT / "ARCHITECTURE.md", "design/architecture.md")
    assert "docs/nowhere.md, which does not exist" in caplog.text
    recipe = re.search(r"^docs:.*\n\t(.+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe and "build --strict" in recipe[1]
    assert "-q" not in recipe[1], "--quiet hides warnings from --strict"


def test_the_page_of_the_configuration_has_every_field_with_its_meaning():
    rows = re.findall(r"^\| `([a-z0-9_.]+)` \| `.+?` \| (.*?) \|", config_page(), re.MULTILINE)
    # env.kwargs holds whatever its environment takes.
    fields = {*flatten(config_to_dict(Config())), "env.kwargs"}
    assert {name for name, _ in rows} == fields
    assert [name for name, meaning in rows if not meaning.strip()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_source_files_that_a_page_names_exist(page):
    text = page.read_text()
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s#]+)(?:#[^)]*)?\)", prose):
        path = (page.parent / target).resolve()
        assert "://" in target or path.exists() or path in GENERATED, target
    for name in re.findall(r"`((?:[\w-]+/)+[\w.-]+\.(?:py|cc|h|toml|ya?ml|sh|sbatch|md))`", text):
        if name.partition("/")[0] in TOP_FOLDERS:
            # A page of docs/extend may name the file that its example adds to a room.
            wanted = Path(name).parent if page.parent.name == "extend" else name
            assert (ROOT / wanted).exists(), name


def test_every_change_builds_the_site():
    assert "make test" in (ROOT / ".ci" / "run").read_text().splitlines()
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r"^test:.* test-docs\b", makefile, re.MULTILINE)
    assert re.search(r"^test-docs: docs$", makefile, re.MULTILINE)
    assert ".ci/run" in (ROOT / ".github" / "workflows" / "ci.yml").read_text()


def test_no_folder_of_docs_has_more_than_12_entries():
    folders = [path for path in (ROOT / "docs").rglob("*") if path.is_dir()]
    sizes = {
        folder: len([path for path in folder.iterdir() if path.name != "__pycache__"])
        for folder in [ROOT / "docs", *folders]
    }
    assert {str(folder): size for folder, size in sizes.items() if size > 12} == {}
