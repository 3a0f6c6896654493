"""The patches of a comparison: baselines, sets of latents, and the sweep over layers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from ontogeny.analyses.patched_kl.config import Form
from ontogeny.analyses.patched_kl.sets import LatentSet
from ontogeny.interventions.edits import (
    AddLatents,
    AddVector,
    Edit,
    ReplaceLatents,
    SwapError,
    SwapReconstruction,
    TakeActivation,
    TakeReconstruction,
    Where,
)
from ontogeny.interventions.patches import AS_IT_IS, Patch
from ontogeny.latents.pair import Pair
from ontogeny.types import HookPoint

TEMPLATE = "control"
"""The mask of the chat template's own tokens."""
GAP, PATCHED = "base model", "base activation"
"""The two baselines that a closed share is quoted of: base by itself, and base's activation in chat."""
ALL_LATENTS = "all latents"


@dataclass(frozen=True)
class Described:
    """A patch with what its activation is, in a formula, and the columns that name it in its table."""

    patch: Patch
    formula: str
    columns: Mapping[str, str | int | None]


def make_baselines(
    pair: Pair, hook_point: HookPoint, mean: Float[Tensor, " d_model"], bias: Float[Tensor, " d_model"], template: bool
) -> list[Described]:
    """What needs no choice of latents. `mean`: of chat - base; `bias`: of the decoder, chat - base; raw space."""
    base, chat = pair.base, pair.chat
    rows: list[tuple[str, str, int, int, Edit]] = [
        (GAP, "x_base", base, base, AS_IT_IS),
        *_whole(pair, mean, template),
        ("base reconstruction", "recon_base", base, chat, TakeReconstruction(base)),
        ("chat reconstruction", "recon_chat", chat, chat, TakeReconstruction(chat)),
        (ALL_LATENTS, "x_base + Σ f (d_chat - d_base)", base, chat, ReplaceLatents(base, chat)),
        ("bias difference", "x_base + b_chat - b_base", base, chat, AddVector(bias)),
        ("base error, chat reconstruction", "e_base + recon_chat", base, chat, SwapReconstruction(base, chat)),
        ("chat error, base reconstruction", "e_chat + recon_base", base, chat, SwapError(base, chat)),
        ("all latents reverted", "x_chat - Σ f (d_chat - d_base)", chat, chat, ReplaceLatents(chat, base)),
    ]
    return [_describe(row, pair, hook_point, {"patch": row[0]}) for row in rows]


def make_sweep(pair: Pair, means: Mapping[HookPoint, Float[Tensor, " d_model"]], template: bool) -> list[Described]:
    """The patches that need no dictionary, after every layer."""
    return [
        _describe(row, pair, point, {"layer": point.layer, "patch": row[0]})
        for point, mean in means.items()
        for row in _whole(pair, mean, template)
    ]


def _whole(pair: Pair, mean: Float[Tensor, " d_model"], template: bool) -> list[tuple[str, str, int, int, Edit]]:
    base, chat = pair.base, pair.chat
    rows: list[tuple[str, str, int, int, Edit]] = [
        (PATCHED, "x_base", base, chat, AS_IT_IS),
        ("chat activation in base", "x_chat", chat, base, AS_IT_IS),
        ("mean difference", "x_base + mean(x_chat - x_base)", base, chat, AddVector(mean)),
    ]
    if template:
        there, formula = Where(TEMPLATE, TakeActivation(chat)), "x_chat at template tokens, else x_base"
        rows.append(("template tokens", formula, base, chat, there))
        rows.append(("template tokens in base", formula, base, base, there))
    return rows


def make_set_patches(
    pair: Pair, hook_point: HookPoint, sets: Sequence[LatentSet], forms: Sequence[Form]
) -> list[Described]:
    """Every set that has a latent, in every form."""
    out = []
    for each in sets:
        for form in forms if each.latents else ():
            formula, start, edit = _exchange(pair, form, each.latents)
            columns: dict[str, str | int | None] = {
                "set": each.name,
                "half": each.half,
                "by": each.by,
                "seed": each.seed,
                "form": form,
                "n_latents": len(each.latents),
            }
            out.append(_describe((f"{each.name} {form}", formula, start, pair.chat, edit), pair, hook_point, columns))
    return out


def _exchange(pair: Pair, form: Form, latents: tuple[int, ...]) -> tuple[str, int, Edit]:
    base, chat = pair.base, pair.chat
    if form == "replace":
        return "x_base + Σ f (d_chat - d_base)", base, ReplaceLatents(base, chat, latents)
    if form == "add":
        return "x_base + Σ f d_chat", base, AddLatents(chat, latents)
    return "x_chat - Σ f (d_chat - d_base)", chat, ReplaceLatents(chat, base, latents)


def _describe(
    row: tuple[str, str, int, int, Edit], pair: Pair, hook_point: HookPoint, columns: dict[str, str | int | None]
) -> Described:
    name, formula, start, runs_in, edit = row
    where = "base" if runs_in == pair.base else "chat"
    return Described(Patch(name, hook_point, start, runs_in, edit), formula, columns | {"runs_in": where})
