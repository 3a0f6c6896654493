"""Commands that look at what there is: lists, pages, figures, reports, comparisons."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ontogeny.commands.options import (
    OPTIONS,
    PLACE,
    Options,
    Overrides,
    Place,
    load_recipes,
    open_console,
    open_workspace,
)
from ontogeny.errors import ConfigError


def list_artifacts(
    *,
    kind: str | None = None,
    where: Annotated[tuple[str, ...], Parameter(show_default=False)] = (),
    sort: str | None = None,
    place: Place = PLACE,
) -> None:
    """List what the workspace holds.

    Parameters
    ----------
    kind
        Only families, corpora, activations, dictionaries, evaluations, codes, losses, grams, clusters or results.
    where
        Only where key=value, for example name=demo or training.lr=0.001.
    sort
        By this key, largest first, for example fve.
    """
    from ontogeny.commands.listing import check_kind, print_list, select, with_evaluations

    check_kind(kind)
    workspace = open_workspace(place)
    print_list(select(with_evaluations(workspace, workspace.artifacts(kind)), where, sort), open_console())


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
            print_resolved(each, open_console())
        return
    workspace = open_workspace(options)
    print_artifact(workspace, workspace.find(reference), open_console(), json)


def write_report(
    reference: str,
    *,
    latents: str | None = None,
    top: int | None = None,
    by: str | None = None,
    lowest: bool = False,
    clusters: bool = False,
    samples: int | None = None,
    before: int | None = None,
    after: int | None = None,
    dest: Path | None = None,
    notes: Annotated[str | None, Parameter(env_var="ONTOGENY_NOTES")] = None,
    place: Place = PLACE,
) -> None:
    """Write one HTML file, which needs no network, with all results of a dictionary and a card a latent.

    With --clusters, a page of the quanta alone, with all their tokens.

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
    clusters
        Quanta alone.
    samples
        Tokens of each quantum, the most central first; all with --clusters, else 20.
    before
        Tokens of context before each; all that the analysis kept if absent.
    after
        Tokens after it.
    dest
        File to write; report-ID.html (quanta-ID.html) if absent.
    notes
        Database of the notes on the cards as a URL; the file in the workspace if absent.
    """
    from ontogeny.commands.report import LatentChoice, write_quanta
    from ontogeny.commands.report import write_report as write
    from ontogeny.results.report import Excerpt

    workspace, choice = open_workspace(place), LatentChoice(latents, top, by, lowest)
    excerpt = Excerpt(samples, before, after)
    if not clusters:
        return write(workspace, reference, dest, choice, excerpt, open_console(), notes)
    if choice != LatentChoice():
        raise ConfigError("--clusters writes quanta alone; leave out --latents, --top, --by and --lowest.")
    write_quanta(workspace, reference, dest, excerpt, open_console())


def write_figures(
    reference: str,
    *,
    dest: Path | None = None,
    format: Annotated[tuple[str, ...], Parameter(show_default=False)] = ("pdf", "svg", "png"),
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
        pdf, svg or png; several may be given, all three if absent.
    """
    from ontogeny.commands.figures import write_figures as write

    write(open_workspace(place), reference, dest, format, open_console())


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
    print_comparison(groups, open_console())
    plot_comparison(groups, plot)
    open_console().print(f"plotted in {plot}", highlight=False)


def annotate(
    reference: str,
    *,
    behaviour: str | None = None,
    top: int | None = None,
    each: bool = False,
    latents: str | None = None,
    dest: Path | None = None,
    filled: Annotated[Path | None, Parameter(name="--import")] = None,
    author: str | None = None,
    notes: Annotated[str | None, Parameter(env_var="ONTOGENY_NOTES")] = None,
    place: Place = PLACE,
) -> None:
    """Write a page and a sheet of latents to describe; with --import, keep a filled sheet as notes and make the table.

    Parameters
    ----------
    reference
        Name of a recipe, or id of a dictionary or of its indirect effects.
    behaviour
        Whose strongest latents; needed where there are several.
    top
        How many latents, those with the largest indirect effects; 20 if absent.
    each
        As many of every snapshot, of all snapshots together.
    latents
        These latents instead: 1,2,10-14.
    dest
        Folder to write to; annotations-ID if absent, with --import the sheet's own.
    filled
        Sheet to keep as notes.
    author
        Whose notes they are; the user's own name if absent.
    notes
        Database of the notes as a URL, for example postgresql://user@host/name; a file in the workspace if absent.
    """
    from ontogeny.commands.annotate import Annotation, Choice

    chosen = Choice(behaviour, top, each, latents)
    if filled is not None and chosen != Choice():
        raise ConfigError("--import reads a sheet whole; leave out --behaviour, --top, --each and --latents.")
    annotation = Annotation(open_workspace(place), reference, notes, open_console())
    if filled is not None:
        annotation.read(filled, author, dest)
    else:
        annotation.write(chosen, dest)
