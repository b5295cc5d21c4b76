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

from deploy.report.comparison import check_baseline, file_problems, labelled
from deploy.report.content import Section, make_sections
from deploy.report.figures import color_of, dash_of
from deploy.report.run_files import ReportError
from deploy.report.runs import LeftOut, Run, read_runs
from deploy.report.scores import methods_of
from efficientzero.process.options import parse_options

PAGE = "report.html"
_PROG = "launch.py report"
_DPI = 192
_PIXELS_PER_INCH = 96.0
"""On the page."""
_TEMPLATE = "page.html.j2"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Compare runs by group: learning curves, rliable's aggregates, tables, time, fairness.

    Reads the wandb files in the run folders, uploaded or not; writes one HTML page that needs no
    other file, and each figure as a PNG.
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders; what is none, or cannot be used, is left out and listed. Runs that differ in the
    seed alone are one group; groups that differ in the environment alone are one method."""
    out: Path
    """Folder to write to; created if missing."""
    title: str = "EfficientZero runs"
    """The page's headline."""
    baseline: str = ""
    """Method, or group, that others are compared with. Default: the full agent: the arm ``full``,
    or the one method that is nearest to a preset."""
    bootstrap_samples: int = 2_000
    """Resamples behind each interval."""


def main(arguments: Sequence[str]) -> int:
    """Run the command line and return the exit code."""
    options: Options = parse_options(Options, arguments, prog=_PROG)
    try:
        page, left_out, problems = write_report(options)
    except ReportError as error:
        print(f"{_PROG}: error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        # Runs are read before: what is left is the page and its figures.
        where = error.filename or options.out
        print(f"{_PROG}: error: --out: cannot write {where} ({error.strerror})", file=sys.stderr)
        return 2
    for one in left_out:
        print(f"left out  {one.name}: {one.reason}", file=sys.stderr)
    for problem in problems:
        print(f"note      {problem}", file=sys.stderr)
    print(f"wrote {page}")
    return 0


def write_report(options: Options) -> tuple[Path, list[LeftOut], list[str]]:
    """Write the page and its figures.

    Returns:
        The page's path, what was left out, and what is damaged or missing in the files of runs.

    Raises:
        ReportError: see ``read_runs``; or no run is of the baseline, or the folder takes no files.
    """
    found, left_out = read_runs(options.runs)
    runs = labelled(found)
    check_baseline(runs, options.baseline)
    sections = make_sections(
        runs, baseline=options.baseline, samples=options.bootstrap_samples, left_out=left_out
    )
    try:
        page = _write(options, runs, sections, len(left_out))
    except OSError as error:
        raise ReportError(f"--out: {options.out} cannot be written ({error.strerror})") from error
    return page, left_out, file_problems(runs)


def _write(
    options: Options, runs: Sequence[Run], sections: Sequence[Section], num_left_out: int
) -> Path:
    options.out.mkdir(parents=True, exist_ok=True)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    text = environment.get_template(_TEMPLATE).render(
        title=options.title,
        subtitle=_subtitle(runs, num_left_out),
        sections=[_rendered(section, options.out, methods_of(runs)) for section in sections],
    )
    page = options.out / PAGE
    page.write_text(text)
    return page


def _subtitle(runs: Sequence[Run], num_left_out: int) -> str:
    counts = {
        "run": len(runs),
        "method": len(methods_of(runs)),
        "environment": len({run.env_id for run in runs}),
    }
    texts = [f"{count} {what}{'s' * (count > 1)}" for what, count in counts.items()]
    left_out = f"; {num_left_out} given and left out, listed at the end" * bool(num_left_out)
    return f"{texts[0]} of {texts[1]} on {texts[2]}{left_out}."


def _rendered(section: Section, folder: Path, methods: Sequence[str]) -> dict[str, Any]:
    """Write the section's figures and return what the template takes."""
    images = []
    for name, figure in section.figures:
        png = _png(figure)
        (folder / f"{name}.png").write_bytes(png)
        width = _PIXELS_PER_INCH * figure.get_figwidth()
        images.append((name, f"{width:.0f}", base64.b64encode(png).decode()))
    return {
        "title": section.title,
        "reading": section.reading,
        "notes": section.notes,
        "legend": [(m, color_of(m, methods), dash_of(m, methods)) for m in section.methods],
        "images": images,
        "tables": [part for table in section.tables for part in table.parts()],
    }


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=_DPI, format="png")
    return buffer.getvalue()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
