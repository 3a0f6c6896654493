"""A trained dictionary opened to be steered: its snapshots, how its text began, its largest codes."""

import numpy as np
from jaxtyping import Float

from ontogeny.dictionaries.crosscoder import load_dictionary
from ontogeny.errors import ArtifactError
from ontogeny.interventions.steering.steerer import Steerer
from ontogeny.pipeline.device import choose_device
from ontogeny.pipeline.inputs import open_run, open_snapshots
from ontogeny.recipe import Recipe
from ontogeny.results.reader import LATENT, ResultReader
from ontogeny.workspace import Artifact, Workspace

LARGEST = {"statistics": "max", "lifetimes": "max_value"}
"""Analyses that know every latent's largest code, and the column of their table `latents` that has it."""


def open_steerer(workspace: Workspace, reference: str, device: str | None = None) -> Steerer:
    """A dictionary by name or id, with the snapshots of the recipe that made it; models wait until they are asked for.

    ArtifactError where there is none, where it was imported (and so names no snapshots), and where it reads the
    difference of two snapshots, which is no model's activation.
    """
    artifact = workspace.find(reference, "dictionaries")
    if "recipe" not in artifact.manifest:
        raise ArtifactError(
            f"dictionary {artifact.id} ({artifact.title}) was imported and names no snapshots: steer it from Python "
            "with ontogeny.Steerer, which takes a series."
        )
    recipe = Recipe.model_validate(artifact.manifest["recipe"])
    if recipe.activations is None or recipe.activations.difference is not None:
        raise ArtifactError(
            f"dictionary {artifact.id} ({artifact.title}) reads the difference of two snapshots, which no snapshot "
            "computes; steer a dictionary of the snapshots themselves."
        )
    run = open_run(recipe.model_copy(update={"device": choose_device(device or "auto")}), workspace)
    return Steerer(
        open_snapshots(run),
        load_dictionary(artifact.path),
        recipe.activations.hook_points,
        corpus=recipe.corpus,
        largest=largest_codes(workspace, artifact),
        device=run.device,
    )


def largest_codes(workspace: Workspace, dictionary: Artifact) -> Float[np.ndarray, "latent"] | None:
    """The largest code of every latent on held-out text, 0 for dead ones; None where no analysis has looked."""
    for analysis, column in LARGEST.items():
        for artifact in reversed(workspace.artifacts("results")):
            if (artifact.manifest.get("analysis"), artifact.inputs.get("dictionary")) == (analysis, dictionary.id):
                table = ResultReader(artifact.path).read("latents", [LATENT, column])
                values = np.array(table.column(column).to_numpy(zero_copy_only=False), dtype=np.float64)
                return np.nan_to_num(values[np.argsort(table.column(LATENT).to_numpy())], nan=0.0)
    return None
