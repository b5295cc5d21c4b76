"""Compare the weights that this checkout trains with those of an older revision, bit by bit.

    python -m tests.golden.same_digests d53e2e0
    python -m tests.golden.same_digests d53e2e0 --run "--preset minatar --budget.train-steps 100"

Makes the same deterministic runs with both and prints the digests of their weights. Exit codes:
0 if all are equal, 1 if one differs, 2 if a run failed. The revision is cloned into a temporary
folder, its C++ is built there, and it uses this environment's packages. This side is the checkout
as it is, changes that are not committed included.

Digests hold for one CPU model and one set of versions. With ``--known FILE`` those of the revision
are kept in a file, and read from it the next time on the same machine.
"""

import argparse
import json
import shlex
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
RUNS = (
    "--preset catch --seed 3 --budget.env-steps 3000 --budget.train-steps 600",
    "--preset cartpole --seed 3 --budget.env-steps 2000 --budget.train-steps 500",
)
"""Images and vectors, both value prefixes. Each run takes about a minute."""

TIMEOUT_S = 3600.0
FAILED = 2


class Failed(Exception):
    """A command that did not do what it was started for."""


def output_of(*command: str | Path, cwd: Path) -> str:
    """Return what a command printed.

    Raises:
        Failed: its exit code is not 0, or it takes longer than an hour.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            check=False,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"{shlex.join(words)}: not done after {TIMEOUT_S:.0f} s") from None
    if done.returncode:
        raise Failed(f"{shlex.join(words)}: exit code {done.returncode}:\n{done.stdout.strip()}")
    return done.stdout


def checkout_of(commit: str, folder: Path) -> Path:
    """Clone this repository at ``commit`` and build its C++; return the Python to run it with."""
    clone = folder / "checkout"
    output_of("git", "clone", "-q", "--shared", "--no-checkout", CHECKOUT, clone, cwd=folder)
    output_of("git", "checkout", "-q", "--detach", commit, cwd=clone)
    scripts = Path(sysconfig.get_path("scripts"))
    pybind11 = output_of(sys.executable, "-m", "pybind11", "--cmakedir", cwd=folder).strip()
    project = tomllib.loads((clone / "pyproject.toml").read_text())
    source = clone / project["tool"]["scikit-build"]["cmake"]["source-dir"]
    options = ("-DCMAKE_BUILD_TYPE=Release", "-DMCTS_WERROR=OFF", f"-Dpybind11_DIR={pybind11}")
    options += (f"-DPython_EXECUTABLE={sys.executable}", f"-DCMAKE_MAKE_PROGRAM={scripts}/ninja")
    build = folder / "build"
    output_of(scripts / "cmake", "-G", "Ninja", "-S", source, "-B", build, *options, cwd=folder)
    output_of(scripts / "cmake", "--build", build, cwd=folder)
    output_of(scripts / "cmake", "--install", build, "--prefix", clone, cwd=folder)
    # This environment's packages, without the import hook that leads to this checkout's sources.
    output_of(sys.executable, "-m", "venv", "--without-pip", folder / "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    own = output_of(
        python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=clone
    )
    (Path(own.strip()) / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")
    modules = (
        "import efficientzero, mcts_cpp._core as core; print(efficientzero.__file__, core.__file__)"
    )
    for file in output_of(python, "-c", modules, cwd=clone).split():
        if not Path(file).is_relative_to(clone):
            raise Failed(f"{file} was imported, wanted a module of {clone}")
    return python


def digest_of(python: str | Path, checkout: Path, options: str, runs_dir: Path) -> str:
    """Make one deterministic run; return the digest of its last weights."""
    places = ("--deterministic", "--tracking.mode", "disabled", "--runs-dir", str(runs_dir))
    words = ("launch.py", "--local", *shlex.split(options), *places, "--run-id", "run")
    output_of(python, *words, cwd=checkout)
    return json.loads((runs_dir / "run" / "summary.json").read_text())["weights_sha256"]


def digests_of_revision(revision: str, runs: list[str], known: Path | None) -> dict[str, str]:
    """Return the digest of each run at ``revision``, from the file ``known`` where it has them."""
    name = f"{revision}^{{commit}}"
    commit = output_of("git", "rev-parse", "--verify", name, cwd=CHECKOUT).strip()
    kept = json.loads(known.read_text()) if known and known.exists() else {}
    digests = kept.setdefault(commit, {})
    missing = [options for options in runs if options not in digests]
    if missing:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary).resolve()
            python = checkout_of(commit, folder)
            for number, options in enumerate(missing):
                runs_dir = folder / f"runs-{number}"
                digests[options] = digest_of(python, folder / "checkout", options, runs_dir)
    if known:
        known.write_text(json.dumps(kept, indent=1) + "\n")
    return digests


def main() -> int:
    """Return 0 if all digests are equal, 1 if one differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("revision", help="a commit, tag or branch of this repository")
    parser.add_argument(
        "--run",
        action="append",
        metavar="OPTIONS",
        help=f"options of one run in a single word, may be repeated; default: {'; '.join(RUNS)}",
    )
    parser.add_argument("--known", type=Path, metavar="FILE", help="digests of older revisions")
    arguments = parser.parse_args()
    runs = arguments.run or list(RUNS)
    differs = False
    expected = digests_of_revision(arguments.revision, runs, arguments.known)
    with tempfile.TemporaryDirectory() as folder:
        for number, options in enumerate(runs):
            own = digest_of(sys.executable, CHECKOUT, options, Path(folder) / f"runs-{number}")
            differs |= own != expected[options]
            print(options)
            print(f"  {expected[options]}  {arguments.revision}")
            print(f"  {own}  this checkout", "(DIFFERS)" if own != expected[options] else "")
    return int(differs)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as error:
        print(f"same_digests: error: {error}", file=sys.stderr)
        sys.exit(FAILED)
