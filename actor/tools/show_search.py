"""Draw one decision: the frame, its search tree, and the chosen action.

Run as ``python launch.py search runs/<id> --env-step 5 --out decision.png``: plays greedily with
the run's newest checkpoint up to that env_step, searches once more, and writes the picture and,
next to it, the whole tree as JSON.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import tyro

from actor.games import evaluation_seeds
from actor.tools.saved_run import load_network
from efficientzero.envs import FrameStack, make_env_batch
from efficientzero.process.options import parse_options
from efficientzero.process.runtime import generator
from efficientzero.runs.run_folder import RunInfo
from efficientzero.schema import Frames, SearchResult
from efficientzero.search import BatchedSearch, make_planner

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mcts_cpp._core import ExportedNode, ExportedTree

_PROG = "launch.py search"
_RGB_CHANNELS = 3


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to draw."""

    run: tyro.conf.Positional[Path]
    """The run's folder."""
    env_step: int = 0
    """Greedy env_steps before the decision that is drawn."""
    max_nodes: int = 40
    """Nodes in the picture, the most visited ones; the JSON has all."""
    out: Path = Path("decision.png")
    """The picture; the tree goes to the same name ending in .json."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One searched position."""

    frame: Frames  # [*frame]
    result: SearchResult  # of one root
    tree: ExportedTree
    env_step: int
    train_step: int


def decide(run: RunInfo, env_step: int) -> Decision:
    """Play greedily for ``env_step`` env_steps with the newest checkpoint and search once more.

    Raises:
        ValueError: no checkpoint, a planner without trees, or the episode ends earlier.
    """
    config = run.config
    device = torch.device("cpu")
    network, train_step = load_network(run, device)
    search = make_planner(
        config,
        run.env_spec,
        network,
        batch_size=1,
        device=device,
        generator=generator(config.seed, "evaluator", 0, 2),
        simulations=config.evaluator_simulations,
    )
    if not isinstance(search, BatchedSearch):
        raise ValueError(
            f"search.num_simulations: got 0 in {run.run_id}, wanted a run that searches: without a "
            "search there is no tree to draw"
        )
    envs = make_env_batch(
        config,
        seeds=evaluation_seeds(config, 1),
        purpose="evaluation",
        expected=run.env_spec,
    )
    stack, observed = FrameStack(envs.spec, 1), envs.reset([0])
    stack.reset([0], observed)
    for step in range(env_step):
        result = search.run(stack.roots([0]), exploration_noise=False)
        steps = envs.step([0], result.actions_in(result.best_actions))
        if steps.terminated[0] or steps.truncated[0]:
            raise ValueError(f"--env-step: got {env_step}, but the episode ends at {step + 1}")
        observed = steps.observed
        stack.push([0], observed)
    result = search.run(stack.roots([0]), exploration_noise=False)
    envs.close()
    return Decision(
        frame=observed.frames[0],
        result=result,
        tree=search.export_tree(0),
        env_step=env_step,
        train_step=train_step,
    )


def layout(nodes: list[ExportedNode]) -> dict[int, tuple[float, float]]:
    """Return a position for each node: depth downwards, leaves in a row, parents above them."""
    children = defaultdict(list)
    for node in nodes:
        if node["parent"] is not None:
            children[node["parent"]].append(node["index"])
    places: dict[int, tuple[float, float]] = {}
    next_leaf = 0.0
    # A child comes after its parent in the list: backwards, children are placed first.
    order = {node["index"]: node for node in nodes}

    def place(index: int) -> float:
        nonlocal next_leaf
        below = [place(child) for child in children[index]]
        if below:
            x = (min(below) + max(below)) / 2
        else:
            x, next_leaf = next_leaf, next_leaf + 1.0
        places[index] = (x, -float(order[index]["depth"]))
        return x

    place(nodes[0]["index"])
    return places


def most_visited(tree: ExportedTree, count: int) -> list[ExportedNode]:
    """Return the ``count`` most visited nodes, in their order; parents have more visits."""
    ranked = sorted(tree["nodes"], key=lambda node: (-node["visits"], node["index"]))[:count]
    return sorted(ranked, key=lambda node: node["index"])


def draw(decision: Decision, *, max_nodes: int, out: Path) -> None:
    """Write the picture."""
    # pyplot's own figures need no display; imported here because only this tool draws.
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(14, 7), layout="constrained")
    frame_axes, tree_axes = figure.subplots(1, 2, width_ratios=(1, 3))
    _draw_frame(frame_axes, decision.frame)
    nodes = most_visited(decision.tree, max_nodes)
    _draw_tree(tree_axes, nodes)
    figure.suptitle(headline(decision))
    figure.savefig(out, dpi=110)


def check_picture(out: Path) -> None:
    """Check that matplotlib can write the picture's file type.

    Raises:
        ValueError: it cannot.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415  see ``draw``

    kinds = Figure().canvas.get_supported_filetypes()
    if out.suffix.lower().removeprefix(".") not in kinds:
        endings = ", ".join(f".{kind}" for kind in sorted(kinds))
        raise ValueError(f"--out: got {out}, wanted a picture's name, which ends in {endings}")


def headline(decision: Decision) -> str:
    """Return the decision in one line."""
    result = decision.result
    (action,) = result.actions_in(result.best_actions)
    return (
        f"env_step {decision.env_step}, weights of train_step {decision.train_step}: action "
        f"{action}, root value {result.root_values[0]:.2f} (network: "
        f"{result.predicted_values[0]:.2f}), visits {result.visit_counts[0].tolist()}"
    )


def _draw_frame(axes: Axes, frame: Frames) -> None:
    if frame.ndim == 1:
        axes.bar(range(len(frame)), frame)
        axes.set_title("observation (newest)")
        return
    image = frame.transpose(1, 2, 0)
    axes.imshow(image if image.shape[2] == _RGB_CHANNELS else image.max(axis=2), cmap="gray")
    axes.set_title("frame (newest)")
    axes.set_axis_off()


def _draw_tree(axes: Axes, nodes: list[ExportedNode]) -> None:
    places = layout(nodes)
    most = max(node["visits"] for node in nodes)
    for node in nodes:
        x, y = places[node["index"]]
        share = node["visits"] / most
        if node["parent"] is not None:
            px, py = places[node["parent"]]
            axes.plot([px, x], [py, y], color="0.7", linewidth=0.5 + 4 * share, zorder=1)
            q = np.nan if node["q"] is None else node["q"]
            label = f"a{node['action']}\nQ {q:.2f}\nP {node['prior']:.2f}\nr {node['reward']:.2f}"
            axes.text((x + px) / 2, (y + py) / 2, label, fontsize=6, ha="center", va="center")
        axes.scatter([x], [y], s=80 + 500 * share, color="tab:blue", alpha=0.8, zorder=2)
        axes.text(x, y, f"{node['visits']}", fontsize=7, ha="center", va="center", zorder=3)
    axes.set_title(f"the {len(nodes)} most visited nodes; in each its visits")
    axes.set_axis_off()


def show_search(options: Options) -> None:
    """Print the decision, then make the picture and the JSON file.

    Raises:
        ValueError: one line: no such run or decision, an unsupported file type, or a path that
            cannot be written.
    """
    check_picture(options.out)
    run = RunInfo.load(options.run / "config.json")
    decision = decide(run, options.env_step)
    print(headline(decision), flush=True)
    tree = options.out.with_suffix(".json")
    try:
        draw(decision, max_nodes=options.max_nodes, out=options.out)
        tree.write_text(json.dumps(decision.tree, indent=1) + "\n")
    except OSError as error:
        where = error.filename or options.out
        raise ValueError(f"--out: cannot write {where} ({error.strerror})") from error
    print(f"wrote {options.out} and {tree}")


def main(arguments: Sequence[str]) -> int:
    """Run the command line and return the exit code."""
    options: Options = parse_options(Options, arguments, prog=_PROG, description=__doc__)
    try:
        show_search(options)
    except ValueError as error:
        print(f"{_PROG}: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
