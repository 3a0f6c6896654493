"""Commands that keep house and move dictionaries: prune, export, import."""

from pathlib import Path

from ontogeny.commands.options import PLACE, Place, open_console, open_workspace


def prune(*, yes: bool = False, place: Place = PLACE) -> None:
    """Drop activations that nothing needs any more: all of their dictionaries are evaluated.

    Parameters
    ----------
    yes
        Really delete; without it the list is only shown.
    """
    from ontogeny.commands.listing import prune as prune_stores

    prune_stores(open_workspace(place), open_console(), yes)


def export_artifact(
    reference: str,
    destination: Path,
    *,
    format: str,
    unit_decoder: bool = False,
    place: Place = PLACE,
) -> None:
    """Write a dictionary as another project's files.

    Parameters
    ----------
    reference
        Name of a recipe, or id of a dictionary.
    destination
        Folder or file to write.
    format
        saelens, sparsify, dictionary_learning and others; a wrong one lists them.
    unit_decoder
        Move the decoder norms of a dictionary with one source, or one gate, into its codes first.
    """
    from ontogeny.dictionaries.crosscoder import load_dictionary
    from ontogeny.dictionaries.interop import export_dictionary

    dictionary = load_dictionary(open_workspace(place).find(reference, "dictionaries").path)
    export_dictionary(dictionary, destination, format, unit_decoder=unit_decoder)
    open_console().print(f"written to {destination}", highlight=False)


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
    open_console().print(f"dictionary {artifact.id}  {artifact.title}", highlight=False)
