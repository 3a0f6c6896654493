"""The command line: parse, open, call the pipeline. Heavy imports wait until a command runs."""

import os
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, CycloptsError, Parameter

from ontogeny.commands.options import OPTIONS, PLACE, Options, Place, load_recipes, open_runs, open_workspace
from ontogeny.errors import ConfigError, OntogenyError

if TYPE_CHECKING:
    from rich.console import Console

app = App(
    name="ontogeny",
    help="Shows how a language model came to know what it knows, with one sparse dictionary over its snapshots.",
    version=lambda: metadata.version("ontogeny"),
    help_epilogue="Recipes are TOML files or shipped names (`ontogeny show demo --resolved` lists every key). Any key "
    "can be set as --section.key VALUE, or by an environment variable ONTOGENY_SECTION_KEY.",
)

Overrides = Annotated[str, Parameter(allow_leading_hyphen=True, help="Keys of the recipe: --section.key VALUE.")]


@app.command
def demo(*overrides: Overrides, fast: bool = False, serve: bool = False, options: Options = OPTIONS) -> None:
    """Grow a small model on this machine and run the whole story on it.

    Parameters
    ----------
    fast
        A smaller model: under a minute instead of some five.
    serve
        Open the dashboard afterwards, in the versions that have one.
    """
    from ontogeny.commands.demo import print_story
    from ontogeny.pipeline import run_stages

    if serve:
        raise ConfigError("this version has no dashboard; run the demo with --no-serve, its default.")
    for run in open_runs("demo-fast" if fast else "demo", overrides, options):
        print_story(run_stages(run), _output())


@app.command
def run(recipe: str, *overrides: Overrides, options: Options = OPTIONS) -> None:
    """Run all stages that a recipe names; finished ones are skipped, a cut-off one goes on."""
    from ontogeny.commands.demo import print_story
    from ontogeny.pipeline import run_stages

    for each in open_runs(recipe, overrides, options):
        print_story(run_stages(each), _output(), each.variant)


@app.command
def harvest(recipe: str, *overrides: Overrides, options: Options = OPTIONS) -> None:
    """Store the activations of every snapshot; torn or altered shards are found and redone."""
    from ontogeny.pipeline import harvest as harvest_stage

    for each in open_runs(recipe, overrides, options):
        made = harvest_stage(each, verify=True)
        counts = made.held_out.counts
        names = ", ".join(made.series.labels)
        _output().print(
            f"{names}: {made.training.n_rows:,} training rows, {counts.kept:,} held-out rows", highlight=False
        )


@app.command
def train(recipe: str, *overrides: Overrides, options: Options = OPTIONS) -> None:
    """Learn the dictionary."""
    _stage("train", recipe, overrides, options)


@app.command
def evaluate(recipe: str, *overrides: Overrides, options: Options = OPTIONS) -> None:
    """Judge the dictionary on held-out text."""
    _stage("evaluate", recipe, overrides, options)


@app.command
def analyze(recipe: str, *overrides: Overrides, options: Options = OPTIONS) -> None:
    """Make the analyses that the recipe asks for."""
    _stage("analyze", recipe, overrides, options)


@app.command
def grow(recipe: str, *overrides: Overrides, options: Options = OPTIONS) -> None:
    """Train the recipe's small model family, with a snapshot at every power of two and then at even steps."""
    _stage("grow", recipe, overrides, options)


@app.command
def audit(recipe: str, *overrides: Overrides, deep: bool = True, options: Options = OPTIONS) -> None:
    """Check that the snapshots are what they claim to be: order, file hashes, spot checks of the weights.

    Errors end with exit code 2, warnings and notes with 0.

    Parameters
    ----------
    deep
        Read slices of the weights too, and the hashes of every other revision of the repository.
    """
    from ontogeny.commands.audit import print_report, refuse_errors
    from ontogeny.pipeline import open_snapshots
    from ontogeny.snapshots.audit import audit_series

    reports = [audit_series(open_snapshots(each), deep=deep) for each in open_runs(recipe, overrides, options)]
    for report in reports:
        print_report(report, _output())
    refuse_errors(recipe, reports)


@app.command
def plan(recipe: str, *overrides: Overrides, options: Options = OPTIONS) -> None:
    """Say what a recipe will download, store, hold in memory and take in hours, before anything starts."""
    from ontogeny.commands.plan import measure_matmul_rate, print_plan
    from ontogeny.commands.plan import plan as plan_recipe
    from ontogeny.pipeline.device import choose_device

    for each in load_recipes(recipe, overrides, options).values():
        rate = measure_matmul_rate(choose_device(each.device))
        print_plan(plan_recipe(each, rate), rate, _output())


@app.command
def revisions(model: str, *, match: str | None = None, sizes: bool = True) -> None:
    """List the snapshots of a model, with a recipe section to paste.

    Parameters
    ----------
    model
        Hub id or local folder.
    match
        Shell pattern on the name, for example 'step*'.
    sizes
        Ask for the size of each (one request a revision).
    """
    from ontogeny.commands.listing import format_bytes, print_rows
    from ontogeny.snapshots.catalog import list_revisions, render_recipe_section

    found = list_revisions(model, match, sizes)
    rows = [
        {
            "name": each.name,
            "kind": each.kind,
            "step": each.step,
            "tokens": f"{each.tokens:,}" if each.tokens is not None else None,
            "size": format_bytes(each.size_bytes) if each.size_bytes is not None else None,
        }
        for each in found
    ]
    print_rows(model, rows, _output())
    _output().print(render_recipe_section(model, found), markup=False, highlight=False)


@app.command(name="list")
def list_artifacts(
    *,
    kind: str | None = None,
    where: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    sort: str | None = None,
    place: Place = PLACE,
) -> None:
    """List what the workspace holds.

    Parameters
    ----------
    kind
        Only families, corpora, activations, dictionaries, evaluations or results.
    where
        Only where key=value, for example name=demo or training.lr=0.001.
    sort
        By this key, largest first, for example fve.
    """
    from ontogeny.commands.listing import check_kind, print_list, select

    check_kind(kind)
    print_list(select(open_workspace(place).artifacts(kind), where, sort), _output())


@app.command
def show(
    reference: str, *overrides: Overrides, resolved: bool = False, json: bool = False, options: Options = OPTIONS
) -> None:
    """Show an artifact by name or id, or a recipe with the origin of every value.

    Parameters
    ----------
    reference
        Name or unique id prefix of an artifact; with --resolved a recipe.
    resolved
        Show the recipe's values and where each came from.
    json
        The artifact's whole manifest.
    """
    from ontogeny.commands.listing import print_artifact, print_resolved

    if resolved or reference.endswith(".toml"):
        for each in load_recipes(reference, overrides, options).values():
            print_resolved(each, _output())
        return
    workspace = open_workspace(options)
    print_artifact(workspace, workspace.find(reference), _output(), json)


@app.command
def compare(*references: str, plot: Path = Path("compare.png"), place: Place = PLACE) -> None:
    """Compare dictionaries: fve and cross-entropy against l0, mean ± sd over seeds.

    Parameters
    ----------
    references
        Names of recipes (all of their sweep) or ids of dictionaries or evaluations.
    plot
        Where the picture goes.
    """
    from ontogeny.commands.compare import find_evaluations, group_by_setting, plot_comparison, print_comparison

    if not references:
        raise ConfigError("compare needs a name or an id; see `ontogeny list --kind evaluations`.")
    workspace = open_workspace(place)
    groups = group_by_setting(workspace, find_evaluations(workspace, references))
    print_comparison(groups, _output())
    plot_comparison(groups, plot)
    _output().print(f"plotted in {plot}", highlight=False)


@app.command(name="figures")
def write_figures(
    reference: str,
    *,
    dest: Path | None = None,
    format: Annotated[tuple[str, ...], Parameter(negative=())] = ("pdf", "svg", "png"),
    place: Place = PLACE,
) -> None:
    """Write every view of a result as a figure and every table as CSV and LaTeX.

    Parameters
    ----------
    reference
        Id of a result or evaluation; all results of a dictionary by its id or its recipe's name.
    dest
        Folder to write to; figures/ID if absent.
    format
        pdf, svg or png; several may be given.
    """
    from ontogeny.commands.figures import write_figures as write

    write(open_workspace(place), reference, dest, format, _output())


@app.command(name="report")
def write_report(
    reference: str,
    *,
    latents: str | None = None,
    top: int | None = None,
    by: str | None = None,
    lowest: Annotated[bool, Parameter(negative=())] = False,
    dest: Path | None = None,
    place: Place = PLACE,
) -> None:
    """Write one HTML file, which needs no network, with all results of a dictionary and a card a latent.

    Parameters
    ----------
    reference
        Name of a recipe, or id of a dictionary or of one of its results.
    latents
        These latents: 1,2,10-14. Without any choice, some of every class.
    top
        How many latents.
    by
        Those with the largest numbers in this column of a table of latents, for example density.
    lowest
        With --by: the smallest numbers instead.
    dest
        File to write; report-ID.html if absent.
    """
    from ontogeny.commands.report import write_report as write

    write(open_workspace(place), reference, dest, latents, top, by, lowest, _output())


@app.command
def prune(*, yes: bool = False, place: Place = PLACE) -> None:
    """Drop activations that nothing needs any more: all of their dictionaries are evaluated.

    Parameters
    ----------
    yes
        Really delete; without it the list is only shown.
    """
    from ontogeny.commands.listing import prune as prune_stores

    prune_stores(open_workspace(place), _output(), yes)


@app.command(name="export")
def export_artifact(
    reference: str,
    destination: Path,
    *,
    format: str,
    unit_decoder: Annotated[bool, Parameter(negative=())] = False,
    place: Place = PLACE,
) -> None:
    """Write a dictionary as another project's files.

    Parameters
    ----------
    format
        saelens, sparsify, dictionary_learning and others; a wrong one lists them.
    unit_decoder
        Move the decoder norms of a dictionary with one source into its codes first.
    """
    from ontogeny.dictionaries.crosscoder import load_dictionary
    from ontogeny.dictionaries.interop import export_dictionary

    dictionary = load_dictionary(open_workspace(place).find(reference, "dictionaries").path)
    export_dictionary(dictionary, destination, format, unit_decoder=unit_decoder)
    _output().print(f"written to {destination}", highlight=False)


@app.command(name="import")
def import_artifact(source: Path, *, format: str | None = None, name: str | None = None, place: Place = PLACE) -> None:
    """Take another project's dictionary into the workspace.

    Parameters
    ----------
    source
        Folder or file.
    format
        Its format; found from the files if absent.
    name
        A name for it; the file's own if absent.
    """
    from ontogeny.commands.imports import import_into

    artifact = import_into(open_workspace(place), source, format, name or source.stem)
    _output().print(f"dictionary {artifact.id}  {artifact.title}", highlight=False)


def _stage(name: str, recipe: str, overrides: Sequence[str], options: Options) -> None:
    """One stage of a recipe, with what it needs before it; prints what it made."""
    from ontogeny.commands.demo import print_story
    from ontogeny.pipeline import STAGES

    for each in open_runs(recipe, overrides, options):
        made = STAGES[name](each)
        artifacts = made if isinstance(made, list) else [made]
        for artifact in artifacts:
            _output().print(f"{artifact.kind} {artifact.id}  {artifact.path}", highlight=False, soft_wrap=True)
        print_story(artifacts, _output(), each.variant)


def _output() -> "Console":
    """Results go to standard output, as wide as a table needs where nobody's terminal sets the width."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=int(os.environ.get("COLUMNS", "140")))


def main(arguments: Sequence[str] | None = None) -> None:
    """Exit codes: 0 done, 2 the user's error in one line on standard error, 1 ours."""
    # Read by OpenMP when torch loads: a waiting thread sleeps. On a busy machine spinning ones cost 2 x (docs/log.md).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Read by torch at its first tensor: large ones ask for huge pages, whose faults cost a quarter (Linux only).
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    try:
        app(sys.argv[1:] if arguments is None else list(arguments), exit_on_error=False, print_error=False)
    except (OntogenyError, CycloptsError) as error:
        print(f"ontogeny: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("ontogeny: interrupted; the same command goes on where it stopped.", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
