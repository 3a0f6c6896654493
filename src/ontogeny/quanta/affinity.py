"""How much tokens belong together, from the cosine of their gradients."""

import numpy as np
from jaxtyping import Float


def compute_angular_affinity(similarity: Float[np.ndarray, "token other"]) -> Float[np.ndarray, "token other"]:
    """1 − arccos(c) / π: between 0 and 1, and ½ for orthogonal gradients.

    As published; it joins every token with every other. Source: quanta-discovery, clusters_from_similarity_matrix_v1.
    """
    return np.asarray(1 - np.arccos(np.clip(similarity, -1, 1)) / np.pi)


def compute_regularised_affinity(
    similarity: Float[np.ndarray, "token other"], background: float = 0.3
) -> Float[np.ndarray, "token other"]:
    """A + τ · mean(A) with A = max(0, 1 − 2 arccos(c) / π): 0 for orthogonal gradients, then an even background τ.

    Without the background, clusters that hang together by nothing take eigenvectors for themselves.
    Source: the background is that of regularised spectral clustering, Amini et al. 2013.
    """
    clean = np.maximum(0, 2 * compute_angular_affinity(similarity) - 1)
    return np.asarray(clean + background * clean.mean())
