"""Both snapshots and every patch over held-out rows; what is left of it are sums by group and document, in scratch."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from safetensors.numpy import load_file, save
from torch import Tensor

from ontogeny.analyses.contract import AnalysisInputs
from ontogeny.analyses.patched_kl.config import PatchedKLConfig
from ontogeny.analyses.patched_kl.tokens import MeasuredTokens
from ontogeny.interventions.clean import CleanRun, read_rows, run_clean
from ontogeny.interventions.edits import Parts, PartsMaker
from ontogeny.interventions.patches import Patch, run_patch
from ontogeny.interventions.sources import select_sources, source_positions
from ontogeny.interventions.splice import compute_token_losses
from ontogeny.latents.pair import Pair
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.types import HookPoint
from ontogeny.workspace import write_bytes


@dataclass(frozen=True)
class PatchedSums:
    """Sums over predictions, nats: KL(chat || patched) and the cross-entropy of the patched; `count` of predictions."""

    count: Float[np.ndarray, "group document"]
    kl: Float[np.ndarray, "patch group document"]
    ce: Float[np.ndarray, "patch group document"]


class PatchRunner:
    """Two snapshots over the same rows, block after block; every finished block is a file in scratch.

    The snapshots are opened when a block needs them, both at once, since a divergence needs both their predictions.
    """

    def __init__(
        self, inputs: AnalysisInputs, config: PatchedKLConfig, pair: Pair, points: Sequence[HookPoint]
    ) -> None:
        self.inputs, self.config, self.points = inputs, config, tuple(points)
        self.sources = {pair.base: pair.base_source, pair.chat: pair.chat_source}
        self.base, self.chat = pair.base, pair.chat
        self.hook_point = pair.chat_source.hook_point
        dictionary = inputs.dictionary.float().to(inputs.device).eval()
        self.maker = PartsMaker(dictionary, (pair.base, pair.chat), inputs.device)
        self._reads = source_positions(inputs.held_out.sources, dictionary.sources_in)

    @cached_property
    def models(self) -> dict[int, HookedModel]:
        """Source -> its snapshot's model."""
        series, device = self.inputs.series, self.inputs.device
        dtype = "float32" if device == "cpu" else "bfloat16"
        labels = series.labels
        return {
            at: series.open(labels.index(source.snapshot.label), device=device, dtype=dtype)
            for at, source in self.sources.items()
        }

    @cached_property
    def vocabulary(self) -> int:
        """Token ids that both snapshots have; read off their configs."""
        series = self.inputs.series
        places = (series.labels.index(source.snapshot.label) for source in self.sources.values())
        return min(int(series.model_configs[place].vocab_size) for place in places)

    # ---- mean differences ------------------------------------------------------------------------------------------

    @torch.no_grad()
    def compute_means(self, blocks: Sequence[Int[np.ndarray, "_"]]) -> dict[HookPoint, Float[Tensor, " d_model"]]:
        """Hook point -> the mean of x_chat - x_base over the kept tokens of some rows; goes on after a kill."""
        file = self.inputs.scratch / f"means.{self._stamp(np.concatenate(blocks))}.safetensors"
        sums = torch.zeros(len(self.points), self.inputs.series.d_model, dtype=torch.float64)
        done = count = 0
        if file.is_file():
            kept = load_file(file)
            sums, (done, count) = torch.from_numpy(kept["sums"]), (int(each) for each in kept["place"])
        for index in range(done, len(blocks)):
            keep = _keep(self.inputs, blocks[index]).to(self.inputs.device)
            read = {at: self._read(at, blocks[index]) for at in self.sources}
            for place, point in enumerate(self.points):
                difference = read[self.chat][point][keep].double() - read[self.base][point][keep].double()
                sums[place] += difference.sum(dim=0).cpu()
            count += int(keep.sum())
            write_bytes(file, save({"sums": sums.numpy(), "place": np.array([index + 1, count])}))
        return {point: (sums[place] / max(count, 1)).float() for place, point in enumerate(self.points)}

    def _read(self, source: int, rows: Int[np.ndarray, "_"]) -> dict[HookPoint, Tensor]:
        model = self.models[source]
        tokens, mask = read_rows(self.inputs.corpus, rows, self.sources[source].snapshot.label, model.device)
        return model.read(tokens, self.points, mask)

    # ---- patches ---------------------------------------------------------------------------------------------------

    def measure(self, patches: Sequence[Patch], tokens: MeasuredTokens) -> PatchedSums:
        """Sums of every patch over all measured tokens, documents in the order of `tokens.documents`."""
        folder = self.inputs.scratch / "blocks"
        stamp = self._stamp(np.concatenate(tokens.blocks), *(repr(patch) for patch in patches))
        files = [folder / f"{index:06d}.{stamp}.safetensors" for index in range(len(tokens.blocks))]
        for stale in set(folder.glob("*.safetensors")) - set(files):
            stale.unlink()
        n_groups, n_documents = len(tokens.groups), len(tokens.documents)
        count = np.zeros((n_groups, n_documents))
        kl, ce = (np.zeros((len(patches), n_groups, n_documents)) for _ in range(2))
        for index, file in enumerate(files):
            if not file.is_file():
                write_bytes(file, save(self._measure_block(patches, tokens, index)))
            kept = load_file(file)
            here = kept["document"]
            count[:, here] += kept["count"]
            kl[:, :, here] += kept["kl"]
            ce[:, :, here] += kept["ce"]
        return PatchedSums(count, kl, ce)

    @torch.no_grad()
    def _measure_block(
        self, patches: Sequence[Patch], tokens: MeasuredTokens, index: int
    ) -> dict[str, Float[np.ndarray, "..."] | Int[np.ndarray, "..."]]:
        rows, corpus, device = tokens.blocks[index], self.inputs.corpus, self.inputs.device
        points = list(dict.fromkeys([self.hook_point, *self.points]))
        runs = {
            at: run_clean(self.models[at], corpus, rows, source.snapshot.label, points)
            for at, source in self.sources.items()
        }
        keep = _keep(self.inputs, rows).to(device)
        parts = self._parts(rows, runs, keep)
        counted = torch.from_numpy(tokens.counted(index)).to(device)
        targets = torch.from_numpy(np.array(corpus.tokens[rows])).long().to(device)
        clean = runs[self.chat].logits[..., : self.vocabulary]
        member, document = tokens.members(index)
        here, place = np.unique(document, return_inverse=True)

        def by_document(values: Float[np.ndarray, " token"]) -> Float[np.ndarray, "group document"]:
            return np.stack([np.bincount(place[each], values[each], minlength=len(here)) for each in member])

        sums = []
        for patch in patches:
            logits = run_patch(patch, runs, keep, parts[patch.hook_point])[..., : self.vocabulary]
            ce, kl = compute_token_losses(logits, targets, counted, clean)
            assert kl is not None, "clean logits were given"
            sums.append([by_document(each.double().cpu().numpy()) for each in (kl, ce)])
        return {
            "document": here,
            "count": by_document(np.ones(len(document))),
            "kl": np.stack([each[0] for each in sums]),
            "ce": np.stack([each[1] for each in sums]),
        }

    def _parts(
        self, rows: Int[np.ndarray, "_"], runs: Mapping[int, CleanRun], keep: Bool[Tensor, "row position"]
    ) -> dict[HookPoint, Parts]:
        """The parts of the kept tokens at every hook point; codes at the dictionary's own, from all that it reads."""
        masks = {
            name: torch.from_numpy(np.ascontiguousarray(mask[rows])).to(keep.device)[keep]
            for name, mask in self.inputs.corpus.masks.items()
        }
        parts = {}
        for point in dict.fromkeys([self.hook_point, *self.points]):
            x = {at: run.hidden[point][keep].float() for at, run in runs.items()}
            parts[point] = Parts(activations=x, masks=masks)
        stored = self.inputs.held_out.read(rows)[keep.cpu()].float()
        codes = self.maker.dictionary.encode(select_sources(stored, self._reads).to(keep.device))
        parts[self.hook_point] = self.maker.split(codes, parts[self.hook_point].activations, masks)
        return parts

    def _stamp(self, rows: Int[np.ndarray, "row"], *more: str) -> str:
        """A hash of what a file in scratch depends on, beside the dictionary, which the result's id covers."""
        corpus = self.inputs.corpus
        digest = hashlib.sha256(corpus.fingerprint.encode() + rows.tobytes())
        digest.update(
            repr(sorted((label, sorted(pairs.items())) for label, pairs in corpus.replacements.items())).encode()
        )
        digest.update(repr((self.config.model_dump_json(), [str(point) for point in self.points], more)).encode())
        return digest.hexdigest()[:12]


def _keep(inputs: AnalysisInputs, rows: Int[np.ndarray, "_"]) -> Bool[Tensor, "row position"]:
    return torch.from_numpy(np.ascontiguousarray(inputs.corpus.keep[rows]))
