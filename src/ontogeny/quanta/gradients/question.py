"""What several streams of gradients of one model have in common: groups, forms, formats, and where they are kept."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int

from ontogeny.config import config_identity, content_hash
from ontogeny.quanta.config import GramConfig
from ontogeny.quanta.documents import Documents
from ontogeny.quanta.gradients.forms import Absolute, Form, Sparse
from ontogeny.quanta.gradients.parameters import Part, block_parts, choose_groups, final_parts
from ontogeny.quanta.gradients.samples import Samples
from ontogeny.quanta.gradients.stream import GradientStream
from ontogeny.quanta.gradients.sums import SQUARES, LengthSums, Sums
from ontogeny.quanta.gradients.whitening import (
    FactorSums,
    Kronecker,
    MomentSums,
    SecondMoments,
    load_second_moments,
)
from ontogeny.snapshots.hooks import HookedModel
from ontogeny.tokens.corpus import fingerprint_of


@dataclass(frozen=True)
class GradientQuestion:
    """One model, one text, one config; `whitening` was taken from an optimizer or from tokens."""

    model: HookedModel
    documents: Documents
    config: GramConfig
    groups: tuple[str, ...]
    scratch: Path | None
    identity: str
    """Of the model, the config and what whitening was taken from."""
    whitening: tuple[Form, ...] = ()

    @classmethod
    def of(
        cls,
        model: HookedModel,
        documents: Documents,
        config: GramConfig,
        tokens: Int[np.ndarray, " token"],
        scratch: Path | None,
        optimizer_state: Path | None,
    ) -> "GradientQuestion":
        """Check groups and take the whitening, where one is asked for, from the optimizer or from `tokens`."""
        groups = choose_groups(model, config.groups)
        identity = ""
        if scratch is not None:
            weights = [each.detach().cpu().float().numpy() for each in model.module.parameters()]
            taken_from = [str(optimizer_state), tokens.tolist() if config.whitening != "none" else None]
            identity = content_hash([config_identity(config), groups, fingerprint_of(*weights), *taken_from])
        plain = cls(model, documents, config, groups, scratch, identity)
        whitening = plain._take_whitening(tokens, optimizer_state)
        return cls(model, documents, config, groups, scratch, identity, whitening)

    @property
    def wide(self) -> torch.dtype:
        """Float32, or float64 of a model in that."""
        return torch.float64 if self.model.dtype == torch.float64 else torch.float32

    @property
    def storage(self) -> torch.dtype:
        """Of gradients that are kept."""
        return self.model.dtype if self.config.storage == "model" else getattr(torch, self.config.storage)

    @property
    def accumulate(self) -> torch.dtype:
        """Of matrices."""
        return torch.float32 if self.config.accumulate == "float32" else torch.float64

    def forms(self, samples: Samples) -> tuple[Form, ...]:
        """Whitening, then |g| or what is sparse, for which lengths are measured in a stream of their own."""
        if self.config.entries == "signed":
            return self.whitening
        if self.config.entries == "absolute":
            return (*self.whitening, Absolute())
        lengths = LengthSums(len(samples), self.model.device, self.whitening)
        self.answer(samples, lengths, "lengths")
        return (*self.whitening, Sparse(lengths.values[SQUARES].sqrt(), self.config.threshold))

    def answer(self, samples: Samples, sums: Sums, kind: str) -> None:
        """Stream the gradients of samples into sums; `kind` tells apart what is kept of several sums."""
        kept = None
        if self.scratch is not None:
            text = fingerprint_of(samples.order, samples.lengths.numpy(), samples.targets.numpy(), *samples.contexts)
            kept = self.scratch / f"{kind}.{content_hash([self.identity, kind, text])}"
            self.scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.scratch) as spill:
            GradientStream(self.model, samples, self.groups, sums, self.config.memory, Path(spill), kept).run()

    def _take_whitening(self, tokens: Int[np.ndarray, " token"], optimizer_state: Path | None) -> tuple[Form, ...]:
        damping = self.config.damping
        if self.config.whitening == "none":
            return ()
        if self.config.whitening == "adam" and optimizer_state is not None:
            return (SecondMoments(load_second_moments(optimizer_state, self._parts()), damping),)
        samples = Samples(self.documents, [tokens], self.config.batch_tokens)
        if self.config.whitening == "adam":
            sums = MomentSums(self.model.device)
            self.answer(samples, sums, "moments")
            return (SecondMoments(sums.moments(len(samples)), damping),)
        both = FactorSums(self.model.device)
        self.answer(samples, both, "factors")
        others = SecondMoments(both.moments(len(samples)), damping)
        return (Kronecker(both.factors(len(samples)), others, damping),)

    def _parts(self) -> dict[str, Part]:
        """The parameters of the groups by name."""
        parts: Sequence[Part] = [
            *final_parts(self.model),
            *(part for layer in range(self.model.n_layers) for part in block_parts(self.model, layer)),
        ]
        return {part.parameter: part for part in parts if part.group in self.groups}
