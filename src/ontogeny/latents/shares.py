"""Shares of a number of latents, with their intervals."""

import math


def wilson_interval(n: int, of: int, z: float = 1.96) -> tuple[float | None, float | None]:
    """The 95 % interval of a share n / of over independent members; None, None where there are none.

    (p + z²/2m ± z sqrt(p(1 − p)/m + z²/4m²)) / (1 + z²/m) with m = of, which stays within 0 and 1. Wilson 1927.
    """
    if of == 0:
        return None, None
    share, square = n / of, z * z / of
    middle = (share + square / 2) / (1 + square)
    half = z * math.sqrt(share * (1 - share) / of + square / (4 * of)) / (1 + square)
    # Rounding must not put the share outside of its interval.
    return min(max(middle - half, 0.0), share), max(min(middle + half, 1.0), share)
