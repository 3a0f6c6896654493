"""Commands before spending anything: the cost of a recipe, whether its snapshots are sound, which there are."""

from typing import Annotated

from cyclopts import Parameter

from ontogeny.commands.options import OPTIONS, Options, Overrides, RecipeName, open_console, open_runs


def plan(recipe: RecipeName, *overrides: Overrides, options: Options = OPTIONS) -> None:
    """Say what a recipe will download, store, hold in memory and take in hours, before anything starts.

    Where the snapshots are on this machine, analyses are held against their tokenizer too.
    """
    from ontogeny.commands.plan import guesses_text, measure_matmul_rate, print_plan
    from ontogeny.commands.plan import plan as plan_recipe
    from ontogeny.pipeline.analyses import check_tokens, has_tokenizer_here

    for each in open_runs(recipe, overrides, options):
        if has_tokenizer_here(each.recipe):
            check_tokens(each)
        rate = measure_matmul_rate(each.device)
        print_plan(plan_recipe(each.recipe, rate), rate, open_console(), guesses_text(each.recipe))


def audit(
    recipe: RecipeName,
    *overrides: Overrides,
    deep: Annotated[bool, Parameter(negative="--no-deep")] = True,
    options: Options = OPTIONS,
) -> None:
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
        print_report(report, open_console())
    refuse_errors(recipe, reports)


def revisions(
    model: str, *, match: str | None = None, sizes: Annotated[bool, Parameter(negative="--no-sizes")] = True
) -> None:
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
    print_rows(model, rows, open_console())
    open_console().print(render_recipe_section(model, found), markup=False, highlight=False)
