"""A result of indirect effects with known numbers: three latents, two snapshots, two behaviours."""

from pathlib import Path

import numpy as np

from ontogeny.analyses.indirect_effects import columns
from ontogeny.analyses.indirect_effects.columns import make_table
from ontogeny.results import Result, save_result

SOURCES = ("step0", "step8")
EFFECT = {"agreement": [[0.0, 0.5], [0.2, -0.6], [0.1, 0.05]], "ioi": [[0.3, 0.0], [0.0, 0.0], [0.0, 0.1]]}
LATENTS = [2, 5, 9]
CLASSES = [("emerging", "step8 specific"), ("sign-reversing", "step0-step8 shared"), ("maintained", "step0 specific")]


def save_effects(folder: Path) -> None:
    """Effects with an error of 0.01; those of 0.1 and more are significant; only `agreement` has classes."""
    effects, shares, totals = [], [], []
    for behaviour, table in EFFECT.items():
        for number, source in enumerate(SOURCES):
            effect = np.array(table)[:, number]
            common = {"behaviour": behaviour, "source": source, "step": 8 * number, "n": 40, "n_clusters": 10}
            effects.append(
                {
                    **common,
                    "latent": LATENTS,
                    "n_prompts": 40,
                    "effect": effect,
                    "effect_se": 0.01,
                    "significant": np.abs(effect) >= 0.1,
                    **dict.fromkeys(("p", "q", "p_family"), np.full(3, 0.5)),
                }
            )
            numbers = [column.name for column in columns.TOTALS]
            totals.append({**{name: [0.0] for name in numbers}, **common, "behaviour": [behaviour]})
    sizes = np.abs(np.array(EFFECT["agreement"]))
    share = sizes / sizes.sum(axis=1, keepdims=True)
    for number, source in enumerate(SOURCES):
        numbers = [column.name for column in columns.SHARES]
        own = {
            "latent": LATENTS,
            "behaviour": "agreement",
            "source": source,
            "step": 8 * number,
            "n": 40,
            "share": share[:, number],
            "share_low": share[:, number] - 0.05,
            "share_high": share[:, number] + 0.05,
        }
        shares.append({**dict.fromkeys(numbers, np.zeros(3)), **own})
    relie = {
        **dict.fromkeys([column.name for column in columns.RELIE], [None] * 3),
        "latent": LATENTS,
        "behaviour": "agreement",
        "hook_point": "resid_post.1",
        "class": [kind for kind, _ in CLASSES],
        "class_probability": [0.9, 0.8, 0.7],
        "legacy_class": [kind for _, kind in CLASSES],
    }
    made = (
        make_table("effects", columns.EFFECTS, effects, ("latent",)),
        make_table("relie", columns.RELIE, [relie], ("latent",)),
        make_table("shares", columns.SHARES, shares, ("latent",)),
        make_table("totals", columns.TOTALS, totals),
    )
    save_result(Result("indirect_effects", made), folder)
