"""Edits against the sums they stand for, written out densely in float64; and what they come to together."""

from collections.abc import Mapping

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ontogeny.dictionaries.config import CrosscoderConfig
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.errors import DictionaryError
from ontogeny.interventions.edits import (
    AddLatents,
    AddVector,
    Chain,
    Edit,
    Parts,
    PartsMaker,
    RaiseLatents,
    RemoveLatents,
    ReplaceLatents,
    ScaleLatents,
    SetLatents,
    SwapError,
    SwapReconstruction,
    TakeActivation,
    TakeReconstruction,
    Where,
)

N_TOKENS, N_LATENTS, D_MODEL = 9, 12, 5
SOURCES = ("base", "chat")


def small_dictionary(kind: str = "topk", gate: str = "shared", sources: tuple[str, ...] = SOURCES) -> Crosscoder:
    torch.manual_seed(0)
    activation: dict[str, object] = {"kind": kind} | ({} if kind in ("relu", "jumprelu") else {"k": 4})
    config = CrosscoderConfig.model_validate({"n_latents": N_LATENTS, "activation": activation, "gate": gate})
    made = Crosscoder(config, sources, d_model=D_MODEL).double()
    with torch.no_grad():
        for weight in (made.W_enc, made.W_dec, made.b_dec, made.b_enc):
            weight.normal_()
    n_sources = len(sources)
    made.set_scales(torch.rand(n_sources) + 0.5, torch.randn(n_sources, D_MODEL))
    return made.eval()


def split(dictionary: Crosscoder, x: Tensor, masks: Mapping[str, Tensor] | None = None) -> Parts:
    with torch.no_grad():
        codes = dictionary.encode(x)
    sources = range(dictionary.n_sources)
    return PartsMaker(dictionary, sources).split(codes, {source: x[:, source] for source in sources}, masks)


def draw_activations(n_sources: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return 2 * torch.randn(N_TOKENS, n_sources, D_MODEL, generator=generator, dtype=torch.float64)


def dense_contribution(dictionary: Crosscoder, parts: Parts, source: int, latents: list[int]) -> Tensor:
    codes = parts.codes.dense(source)[:, latents]
    return codes @ dictionary.W_dec[latents, source].detach() / dictionary.scale_out[source]


KINDS = [("topk", "shared"), ("relu", "shared"), ("batchtopk", "per_source"), ("jumprelu", "per_source")]


@pytest.mark.parametrize(("kind", "gate"), KINDS)
def test_every_edit_of_latents_is_the_sum_that_it_stands_for(kind: str, gate: str) -> None:
    dictionary, x = small_dictionary(kind, gate), draw_activations()
    parts, chosen = split(dictionary, x), (1, 4, 5, 11)
    base, chat = (dense_contribution(dictionary, parts, source, list(chosen)) for source in (0, 1))
    directions = dictionary.W_dec[list(chosen), 0].detach().sum(0) / dictionary.scale_out[0]
    start = x[:, 0]
    expected: list[tuple[Edit, Tensor]] = [
        (AddLatents(1, chosen), start + chat),
        (AddLatents(1, chosen, times=-0.5), start - 0.5 * chat),
        (RemoveLatents(0, chosen), start - base),
        (ReplaceLatents(0, 1, chosen), start + chat - base),
        (ScaleLatents(0, 3.0, chosen), start + 2 * base),
        (SetLatents(0, 2.0, chosen), start - base + 2 * directions),
        (RaiseLatents(0, 2.0, chosen), start + 2 * directions),
    ]
    for edit, value in expected:
        torch.testing.assert_close(edit(start, parts), value, msg=lambda text, edit=edit: f"{edit}: {text}")


@pytest.mark.parametrize(("kind", "gate"), KINDS)
def test_latents_bias_and_error_make_up_the_activation(kind: str, gate: str) -> None:
    dictionary, x = small_dictionary(kind, gate), draw_activations()
    parts = split(dictionary, x)
    with torch.no_grad():
        recon = dictionary(x)
    for source in (0, 1):
        torch.testing.assert_close(TakeReconstruction(source)(x[:, 0], parts), recon[:, source])
        torch.testing.assert_close(parts.reconstruction(source) + parts.error(source), x[:, source])


@pytest.mark.parametrize("sources", [("base", "chat"), ("a", "b", "c")])
def test_reconstruction_and_error_exchanged_give_the_other_activation(sources: tuple[str, ...]) -> None:
    dictionary, x = small_dictionary(sources=sources), draw_activations(len(sources))
    parts, last = split(dictionary, x), len(sources) - 1
    whole = Chain((SwapReconstruction(0, last), SwapError(0, last)))
    torch.testing.assert_close(whole(x[:, 0], parts), x[:, last])
    torch.testing.assert_close(TakeActivation(last)(x[:, 0], parts), x[:, last])
    bias = AddVector(parts.biases[last] - parts.biases[0])
    latents = Chain((ReplaceLatents(0, last), bias, SwapError(0, last)))
    torch.testing.assert_close(latents(x[:, 0], parts), x[:, last])
    # The error of one and the reconstruction of the other, from either side.
    mixed = SwapReconstruction(0, last)(x[:, 0], parts)
    torch.testing.assert_close(mixed, SwapError(last, 0)(x[:, last], parts))


@given(st.sets(st.integers(0, N_LATENTS - 1)), st.floats(-3, 3), st.integers(0, 1))
def test_what_is_undone_leaves_no_trace(chosen: set[int], times: float, source: int) -> None:
    x = draw_activations()
    parts, latents = split(small_dictionary(), x), tuple(sorted(chosen))
    for edits in (
        (AddLatents(source, latents), RemoveLatents(source, latents)),
        (AddLatents(source, latents, times), AddLatents(source, latents, -times)),
        (ReplaceLatents(0, 1, latents), ReplaceLatents(1, 0, latents)),
        (RemoveLatents(source, latents), AddLatents(source, latents)),
        (RaiseLatents(source, times, latents), RaiseLatents(source, -times, latents)),
        (ScaleLatents(source, 1.0, latents),),
        (),
    ):
        torch.testing.assert_close(Chain(edits)(x[:, 0], parts), x[:, 0])


@given(st.sets(st.integers(0, N_LATENTS - 1)))
def test_parts_of_the_latents_add_up(chosen: set[int]) -> None:
    x = draw_activations()
    parts = split(small_dictionary(), x)
    rest = tuple(sorted(set(range(N_LATENTS)) - chosen))
    halves = Chain((ReplaceLatents(0, 1, tuple(sorted(chosen))), ReplaceLatents(0, 1, rest)))
    torch.testing.assert_close(halves(x[:, 0], parts), ReplaceLatents(0, 1)(x[:, 0], parts))


def test_an_edit_at_some_tokens_leaves_the_others() -> None:
    x = draw_activations()
    mask = torch.arange(N_TOKENS) % 3 == 0
    parts = split(small_dictionary(), x, {"control": mask})
    edited = Where("control", TakeActivation(1))(x[:, 0], parts)
    assert torch.equal(edited[mask], x[mask][:, 1]) and torch.equal(edited[~mask], x[~mask][:, 0])


def test_edits_are_values() -> None:
    assert ReplaceLatents(0, 1, (3, 4)) == ReplaceLatents(0, 1, (3, 4)) != ReplaceLatents(0, 1, (3,))
    assert len({Chain((SwapError(0, 1),)), Chain((SwapError(0, 1),))}) == 1
    assert isinstance(SwapError(0, 1), Edit)


def test_what_cannot_be_edited_is_said() -> None:
    dictionary, x = small_dictionary(), draw_activations()
    with pytest.raises(DictionaryError, match="no latent 12: this dictionary has 12, from 0 on"):
        AddLatents(0, (3, 12))(x[:, 0], split(dictionary, x))
    config = CrosscoderConfig.model_validate({"n_latents": 4, "activation": {"kind": "topk", "k": 2}, "skip": True})
    with pytest.raises(DictionaryError, match="skip connection"):
        PartsMaker(Crosscoder(config, SOURCES, d_model=D_MODEL), (0, 1))
