"""The frozen nouns that every room shares: hook point, snapshot, source.

Axis names in signatures: `token` (one row of activations), `row` and `position` (a corpus), `source` (snapshot x hook
point), `d_model` (the model's width), `latent`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from ontogeny.errors import HookPointError

SITES = ("resid_pre", "resid_post", "mlp_out", "attn_out", "embed")


@dataclass(frozen=True, order=True)
class HookPoint:
    """A place in a model: `resid_post.6` is the residual stream after block 6; `embed` has no layer."""

    site: str
    layer: int | None = None

    @classmethod
    def parse(cls, text: str) -> "HookPoint":
        """Read `site.layer` or `embed`; HookPointError otherwise."""
        if text == "embed":
            return cls("embed")
        match = re.fullmatch(r"(\w+)\.(\d+)", text)
        if match is None or match[1] not in SITES or match[1] == "embed":
            raise HookPointError(
                f"hook point {text!r} is not of the form SITE.LAYER with SITE one of "
                f"{', '.join(site for site in SITES if site != 'embed')} (or `embed` alone), for example resid_post.6."
            )
        return cls(match[1], int(match[2]))

    def __str__(self) -> str:
        return self.site if self.layer is None else f"{self.site}.{self.layer}"


@dataclass(frozen=True)
class Snapshot:
    """A language model at one moment of its training: model id or folder, revision, step, tokens seen.

    `label` names it inside its series ("step1000", "base", "chat") and is unique there.
    """

    model: str
    revision: str | None = None
    step: int | None = None
    tokens: int | None = None
    label: str = "model"


@dataclass(frozen=True)
class Source:
    """One snapshot at one hook point: an entry of the crosscoder's extra axis (papers say head, model or layer)."""

    snapshot: Snapshot
    hook_point: HookPoint

    @property
    def name(self) -> str:
        """The source's full name, unique in any stream: `step1000:resid_post.6`."""
        return f"{self.snapshot.label}:{self.hook_point}"


def source_names(sources: Sequence[Source]) -> list[str]:
    """Short names for metrics and tables: the snapshot's label where all hook points are equal, else the full name."""
    if len({source.hook_point for source in sources}) == 1:
        return [source.snapshot.label for source in sources]
    return [source.name for source in sources]


@runtime_checkable
class Playground(Protocol):
    """Who holds models and answers what-if questions, for those who must not import torch: a server, say.

    It runs in a worker and is handed in; requests and events are JSON's own types.
    """

    def iter_events(self, request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Events as they come, `{"event": "token" | "text", …}`; closing the iterator stops the work."""
