"""Patches: exchanges that must come to the other model's own predictions, on every architecture; what is re-run."""

from collections import Counter

import numpy as np
import pytest
import torch

from interventions.tiny_series import tiny_corpus
from ontogeny.dictionaries.config import CrosscoderConfig
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.interventions.clean import CleanRun, run_clean
from ontogeny.interventions.edits import (
    AddLatents,
    Chain,
    Edit,
    Parts,
    PartsMaker,
    RemoveLatents,
    SwapError,
    SwapReconstruction,
    TakeActivation,
    Where,
)
from ontogeny.interventions.patches import Patch, run_patch
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.tokens.corpus import Corpus
from ontogeny.types import HookPoint
from snapshots.tiny_models import CONFIGS, build_model

BASE, CHAT = 0, 1


def two_runs(name: str, corpus: Corpus, points: list[HookPoint]) -> dict[int, CleanRun]:
    models = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        models.append(HookedModel(build_model(name).eval()))
    rows = corpus.rows()
    return {
        source: run_clean(model, corpus, rows, label, points)
        for source, (model, label) in enumerate(zip(models, ("base", "chat"), strict=True))
    }


def keep_of(corpus: Corpus) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(corpus.keep))


def parts_of(runs: dict[int, CleanRun], corpus: Corpus, point: HookPoint) -> Parts:
    keep = keep_of(corpus)
    x = torch.stack([runs[source].hidden[point][keep] for source in (BASE, CHAT)], dim=1)
    config = CrosscoderConfig.model_validate({"n_latents": 24, "activation": {"kind": "topk", "k": 6}})
    dictionary = Crosscoder(config, ("base", "chat"), d_model=x.shape[-1])
    with torch.no_grad():
        dictionary.W_dec.normal_()
        dictionary.W_enc.normal_()
        dictionary.b_dec.normal_()
        codes = dictionary.eval().encode(x)
    masks = {"some": torch.arange(len(x)) % 2 == 0}
    return PartsMaker(dictionary, (BASE, CHAT)).split(codes, {BASE: x[:, BASE], CHAT: x[:, CHAT]}, masks)


@pytest.mark.parametrize("name", sorted(CONFIGS))
@pytest.mark.parametrize("site", ["resid_post", "mlp_out"])
def test_the_other_snapshots_activation_gives_its_predictions(name: str, site: str) -> None:
    corpus = tiny_corpus(4)
    corpus.keep[:] = corpus.document >= 0  # every token is exchanged
    point, last = HookPoint(site, 0), HookPoint("resid_post", 0)
    runs = two_runs(name, corpus, [point, last])
    occupied, keep = torch.from_numpy(corpus.document >= 0), keep_of(corpus)
    parts = parts_of(runs, corpus, point)
    same: dict[int, list[Edit]] = {
        CHAT: [Chain((AddLatents(BASE, (1, 2)), RemoveLatents(BASE, (1, 2))))],
        BASE: [Chain((SwapReconstruction(BASE, CHAT), SwapError(BASE, CHAT))), TakeActivation(CHAT)],
    }
    if site == "mlp_out":  # the stream around it is the running model's own: only that model's activation fits
        same[BASE] = []
    for start, edits in same.items():
        for edit in edits:
            logits = run_patch(Patch("p", point, start, CHAT, edit), runs, keep, parts)
            torch.testing.assert_close(logits[occupied], runs[CHAT].logits[occupied], atol=1e-4, rtol=1e-4)


def test_only_the_blocks_after_the_hook_point_run_again() -> None:
    corpus = tiny_corpus(4)
    points = [HookPoint("resid_post", layer) for layer in range(2)]
    runs = two_runs("llama", corpus, points)
    run_patch(Patch("p", points[0], BASE, CHAT), runs, keep_of(corpus), Parts())  # asks once what blocks return
    counts: Counter[int] = Counter()
    for layer, block in enumerate(runs[CHAT].model.blocks):
        # A block that is skipped is called, its modules are not.
        next(block.children()).register_forward_hook(lambda *_, layer=layer: counts.update([layer]))
    for point in points:
        counts.clear()
        run_patch(Patch("p", point, BASE, CHAT), runs, keep_of(corpus), Parts())
        assert point.layer is not None
        assert dict(counts) == dict.fromkeys(range(point.layer + 1, runs[CHAT].model.n_layers), 1)
    counts.clear()
    clean = run_patch(Patch("p", points[0], CHAT, CHAT), runs, keep_of(corpus), Parts())
    assert not counts and clean is runs[CHAT].logits, "what is clean is not run again"


def test_positions_that_are_not_kept_are_those_of_the_start() -> None:
    corpus, point = tiny_corpus(4), HookPoint("resid_post", 0)
    runs = two_runs("llama", corpus, [point])
    parts = Parts(activations={source: runs[source].hidden[point][keep_of(corpus)] for source in (BASE, CHAT)})
    logits = run_patch(Patch("p", point, BASE, CHAT, TakeActivation(CHAT)), runs, keep_of(corpus), parts)
    mixed = torch.where(keep_of(corpus)[..., None], runs[CHAT].hidden[point], runs[BASE].hidden[point])
    expected = runs[CHAT].model.run_from(1, mixed, runs[CHAT].mask)
    torch.testing.assert_close(logits, expected)
    assert not torch.allclose(logits, runs[CHAT].logits)


def test_some_positions_alone() -> None:
    corpus, point = tiny_corpus(4), HookPoint("resid_post", 0)
    runs = two_runs("gpt2", corpus, [point])
    parts = parts_of(runs, corpus, point)
    patch = Patch("p", point, BASE, CHAT, Where("some", TakeActivation(CHAT)))
    logits = run_patch(patch, runs, keep_of(corpus), parts)
    hidden = runs[BASE].hidden[point].clone()
    places = keep_of(corpus).nonzero()[parts.masks["some"]]
    hidden[places[:, 0], places[:, 1]] = runs[CHAT].hidden[point][places[:, 0], places[:, 1]]
    torch.testing.assert_close(logits, runs[CHAT].model.run_from(1, hidden, runs[CHAT].mask))


def test_a_snapshot_reads_its_own_words_for_template_tokens() -> None:
    corpus, point = tiny_corpus(4), HookPoint("resid_post", 0)
    token = int(corpus.tokens[0, 3])
    corpus.replacements["base"] = {token: 5}
    runs = two_runs("llama", corpus, [point])
    expected = torch.from_numpy(np.array(corpus.tokens)).long()
    assert torch.equal(runs[CHAT].tokens, expected)
    assert torch.equal(runs[BASE].tokens, torch.where(expected == token, 5, expected))
