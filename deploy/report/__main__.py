"""Report on runs: ``python launch.py report RUNS… --out DIR``."""

from __future__ import annotations

import base64
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

from deploy.report.content import Section, make_sections
from deploy.report.figures import WIDTH
from deploy.report.runs import ReportError, Run, read_runs
from deploy.report.scores import methods_of
from efficientzero.options import parse_options

PAGE = "report.html"
_DPI = 130
_TEMPLATE = "page.html.j2"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Compare runs by group: learning curves, rliable's aggregates, tables, time, fairness.

    Reads the wandb files in the run folders, uploaded or not; writes one HTML page that needs no
    other file, and each figure as a PNG.
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders. Those that differ in the seed alone are one group; groups that differ in the
    environment alone are one method."""
    out: Path
    """Folder to write to; created if missing."""
    title: str = "EfficientZero runs"
    """The page's headline."""
    baseline: str = ""
    """Method that others are compared with. Default: the first by name."""
    bootstrap_samples: int = 2_000
    """Resamples behind each interval."""


def main(arguments: Sequence[str]) -> int:
    """Run the command line and return the exit code."""
    options: Options = parse_options(Options, arguments, prog="launch.py report")
    try:
        page = write_report(options)
    except ReportError as error:
        print(f"report: error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        # Runs are read before: what is left is the page and its figures.
        where = error.filename or options.out
        print(f"report: error: --out: cannot write {where} ({error.strerror})", file=sys.stderr)
        return 2
    print(f"wrote {page}")
    return 0


def write_report(options: Options) -> Path:
    """Write the page and its figures; return the page's path.

    Raises:
        ReportError: see ``read_runs``; or no run is of the baseline.
    """
    runs = read_runs(options.runs)
    methods = methods_of(runs)
    baseline = options.baseline or methods[0]
    if baseline not in methods:
        raise ReportError(f"--baseline: got {baseline}, wanted one of {', '.join(methods)}")
    sections = make_sections(runs, baseline=baseline, samples=options.bootstrap_samples)
    options.out.mkdir(parents=True, exist_ok=True)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    text = environment.get_template(_TEMPLATE).render(
        title=options.title,
        subtitle=_subtitle(runs),
        sections=[_rendered(section, options.out) for section in sections],
    )
    page = options.out / PAGE
    page.write_text(text)
    return page


def _subtitle(runs: Sequence[Run]) -> str:
    counts = {
        "run": len(runs),
        "method": len(methods_of(runs)),
        "environment": len({run.env_id for run in runs}),
    }
    texts = [f"{count} {what}{'s' * (count > 1)}" for what, count in counts.items()]
    return f"{texts[0]} of {texts[1]} on {texts[2]}."


def _rendered(section: Section, folder: Path) -> dict[str, Any]:
    """Write the section's figures and return what the template takes."""
    images = []
    for name, figure in section.figures:
        png = _png(figure)
        (folder / f"{name}.png").write_bytes(png)
        width = 100.0 * figure.get_figwidth() / WIDTH
        images.append((name, f"{width:.0f}", base64.b64encode(png).decode()))
    return {
        "title": section.title,
        "reading": section.reading,
        "images": images,
        "tables": section.tables,
    }


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=_DPI, format="png")
    return buffer.getvalue()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
