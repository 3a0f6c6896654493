"""Running a model from a hook point on, with another activation there."""

from jaxtyping import Float, Int
from torch import Tensor

from ontogeny.snapshots.hooks import HookedModel
from ontogeny.types import HookPoint


def run_with(
    model: HookedModel,
    tokens: Int[Tensor, "row position"],
    mask: Tensor | None,
    hook_point: HookPoint,
    replaced: Float[Tensor, "row position d_model"],
) -> Float[Tensor, "row position vocab"]:
    """Logits with the activation at the hook point `replaced`; in the residual stream only the blocks after it run."""
    if hook_point.layer is not None and hook_point.site in ("resid_pre", "resid_post"):
        return model.run_from(hook_point.layer + (hook_point.site == "resid_post"), replaced, mask)
    return model.forward(tokens, mask, replace={hook_point: lambda _: replaced}).logits
