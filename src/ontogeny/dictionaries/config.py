"""What a dictionary is: its size, activation function, losses and start. Torch-free."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SerializeAsAny, model_validator

from ontogeny.config import Config, KindConfig, registered_name

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0)]


class ActivationConfig(KindConfig):
    """Base of the activation functions' settings; `kind` is the name in the registry."""

    registry = "ontogeny.dictionaries.activation_functions:ACTIVATION_FUNCTIONS"


class ReLUConfig(ActivationConfig):
    """Keep what is positive."""

    kind: Literal["relu"] = "relu"
    """relu: a latent is on where its pre-activation is positive."""


class JumpReLUConfig(ActivationConfig):
    """Keep what exceeds the latent's own, learned threshold."""

    kind: Literal["jumprelu"] = "jumprelu"
    """jumprelu: a latent is on where its score (pre-activation times decoder norm) exceeds its threshold."""
    threshold: Positive = 0.1
    """Threshold of every latent at the start, in units of the score."""
    window: Positive = 2.0
    """Width of the straight-through window around the threshold, in units of the score."""


class TopKConfig(ActivationConfig):
    """Keep the k largest scores of each token (gate per_source: of each token and source)."""

    kind: Literal["topk"] = "topk"
    """topk: the k latents of largest score on each token."""
    k: Count
    """Latents kept per token."""


class BatchTopKConfig(ActivationConfig):
    """Keep the k·B largest scores of a batch of B tokens; a fixed threshold stands for them at inference."""

    kind: Literal["batchtopk"] = "batchtopk"
    """batchtopk: the k·B largest scores of the batch in training, a threshold at inference."""
    k: Count
    """Latents kept per token on average (gate per_source: per token and source)."""
    budget: Literal["joint", "separate"] = "joint"
    """With gate per_source: one budget k·B·S over tokens and sources together, or k·B in each source."""
    threshold_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay of the moving average that estimates the inference threshold, per training step."""
    threshold_warmup: bool = True
    """Average over the last tenth of the steps while these are few, so that a short run has no lag."""
    threshold_start: Annotated[int, Field(ge=0)] = 0
    """Training steps before the estimate begins; until then inference keeps everything positive."""


class GroupMaxConfig(ActivationConfig):
    """Split the latents into k equal groups and keep the largest of each."""

    kind: Literal["groupmax"] = "groupmax"
    """groupmax: k groups of neighbouring latents, one winner in each."""
    k: Count
    """Number of groups, and so of latents kept per token."""


ActivationConfig.built_in = (ReLUConfig, JumpReLUConfig, TopKConfig, BatchTopKConfig, GroupMaxConfig)


class SparsityConfig(KindConfig):
    """Base of the settings of sparsity terms; `kind` is the name in the registry."""

    registry = "ontogeny.dictionaries.losses:SPARSITY_LOSSES"


class PenaltyConfig(SparsityConfig):
    """Base of the settings of sparsity terms that there are: all but none."""

    coefficient: Weight
    """Weight of the term in the loss."""


class L1Config(PenaltyConfig):
    """Mean over tokens of the sum over latents of code times decoder norm."""

    kind: Literal["l1"] = "l1"
    """l1: code times decoder norm."""
    reduction: Literal["sum", "mean"] = "sum"
    """With gate per_source: sum or mean of the penalty over the sources."""


class TanhConfig(PenaltyConfig):
    """Mean over tokens of the sum over latents of tanh(stretch · code · norm): a smooth l0."""

    kind: Literal["tanh"] = "tanh"
    """tanh: a smooth count of active latents."""
    stretch: Positive = 4.0
    """Factor inside the tanh, per unit of code times norm."""
    reduction: Literal["sum", "mean"] = "mean"
    """With gate per_source: sum or mean of the penalty over the sources."""


class TanhQuadConfig(PenaltyConfig):
    """p_i = mean over tokens (and sources) of tanh(stretch · code · norm); the sum over i of p_i (1 + p_i / scale)."""

    kind: Literal["tanh_quad"] = "tanh_quad"
    """tanh_quad: tanh, with a quadratic price on latents that fire often."""
    stretch: Positive = 4.0
    """Factor inside the tanh, per unit of code times norm."""
    frequency_scale: Positive = 0.01
    """Firing frequency (fraction of tokens) at which the quadratic part equals the linear one."""


class NoSparsityConfig(SparsityConfig):
    """No sparsity term: the activation function alone makes the codes sparse."""

    kind: Literal["none"] = "none"
    """none: no sparsity term."""


SparsityConfig.built_in = (L1Config, TanhConfig, TanhQuadConfig, NoSparsityConfig)

BUILT_IN_RECON = ("squared", "norm", "batchnorm")


class AuxKConfig(Config):
    """The dead latents of largest score reconstruct what the living ones left over."""

    k: Count | None = None
    """Dead latents used per token; none means half the width of one source."""
    coefficient: Weight | None = None
    """Weight of the term in the loss; none means a 32nd of what reconstructing by the mean would cost, as published
    where both terms are fractions of variance."""


class InitConfig(Config):
    """How the weights start."""

    encoder_factor: Positive = 1.0
    """The encoder starts as the decoder's transpose times this."""
    decoder_norm: Positive = 1.0
    """Decoder norm of every latent in every source at the start, in normalised units (before any search)."""
    norm_search: bool = True
    """Search for the decoder norm that reconstructs the first batch best (0.1 to 5 by 0.1, then by 0.01)."""
    bias: Literal["zero", "mean", "geometric_median"] = "geometric_median"
    """What the decoder bias starts as, taken over the first batch, source by source."""


class CrosscoderConfig(Config):
    """A crosscoder; with one source it is a sparse autoencoder."""

    n_latents: Count | None = None
    """Number of latents; give this or `expansion`."""
    expansion: Positive | None = None
    """Number of latents as a multiple of the width of one source; give this or `n_latents`."""
    activation: Annotated[SerializeAsAny[ActivationConfig], BeforeValidator(ActivationConfig.choose)] = BatchTopKConfig(
        k=32
    )
    """Activation function: kind relu, jumprelu, topk, batchtopk or groupmax, and its own settings."""
    norm: Literal["sum", "frobenius", "mixed", "none"] = "sum"
    """How a latent's decoder norms over the sources make the one that weighs its code."""
    norm_mix: tuple[Weight, Weight] = (1.0, 0.1)
    """With norm mixed: weights of the Frobenius norm and of the sum of norms."""
    gate: Literal["shared", "per_source"] = "shared"
    """One gate for all sources, or a gate in each source by its own decoder norm."""
    recon: Annotated[
        str,
        AfterValidator(
            registered_name("reconstruction error", "ontogeny.dictionaries.losses:RECON_LOSSES", BUILT_IN_RECON)
        ),
    ] = "squared"
    """Reconstruction error: `squared` norm, `norm`, or `batchnorm`: squared over the distance from the batch's mean."""
    reduction: Literal["mean", "sum"] = "mean"
    """Mean or sum of the reconstruction error over the sources written."""
    sparsity: Annotated[SerializeAsAny[SparsityConfig], BeforeValidator(SparsityConfig.choose)] = NoSparsityConfig()
    """Sparsity term: kind l1, tanh, tanh_quad or none, and its own settings."""
    preact: Weight = 0.0
    """Weight of the pre-activation term of jumprelu: relu(threshold - pre) times decoder norm."""
    aux_k: AuxKConfig | None = AuxKConfig()
    """Auxiliary loss that revives dead latents; none switches it off."""
    init: InitConfig = InitConfig()
    """How the weights start."""
    skip: bool = False
    """Add a dense linear map from the sources read to the sources written."""
    subtract_b_dec: bool = False
    """Subtract the decoder bias from the input before encoding (sources read and written must be equal)."""

    @model_validator(mode="after")
    def _consistent(self) -> "CrosscoderConfig":
        if (self.n_latents is None) == (self.expansion is None):
            raise ValueError("give exactly one of n_latents and expansion")
        if self.preact and self.activation.kind != "jumprelu":
            raise ValueError(f"the pre-activation term needs jumprelu, not {self.activation.kind}")
        if self.gate == "per_source" and self.activation.kind == "groupmax":
            raise ValueError("groupmax has no gate per source; use gate shared")
        k = getattr(self.activation, "k", None)
        if k is not None and self.n_latents is not None and k > self.n_latents:
            raise ValueError(f"k = {k} is more than n_latents = {self.n_latents}; lower k or raise n_latents")
        return self

    def latents_for(self, d_model: int) -> int:
        """The number of latents for sources of width `d_model`."""
        return self.n_latents if self.n_latents is not None else round((self.expansion or 1) * d_model)
