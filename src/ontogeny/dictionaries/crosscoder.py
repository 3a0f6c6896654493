"""The crosscoder: one sparse dictionary over several sources; with one source it is a sparse autoencoder."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from ontogeny.dictionaries.activation_functions.preactivation import KeptTable
from ontogeny.dictionaries.codes import Codes
from ontogeny.dictionaries.config import CrosscoderConfig
from ontogeny.dictionaries.files import WEIGHTS_FILE, Description, read_dictionary, write_dictionary
from ontogeny.dictionaries.folding import compute_folded
from ontogeny.dictionaries.start import draw_weights, search_norm, set_bias
from ontogeny.dictionaries.step import StepContext, StepOutput, compute_terms
from ontogeny.dictionaries.weights import Weights
from ontogeny.errors import DictionaryError

__all__ = ["Crosscoder", "StepContext", "StepOutput", "load_dictionary"]


class Crosscoder(Weights):
    """One dictionary over `sources_in`, written to `sources_out` (the same ones unless given).

    Parameters and buffers are those of `Weights`. Raises DictionaryError for a configuration that cannot be built.
    """

    def __init__(
        self,
        config: CrosscoderConfig,
        sources_in: Sequence[str],
        sources_out: Sequence[str] | None = None,
        d_model: int = 0,
        d_model_out: int | None = None,
    ) -> None:
        super().__init__(config, sources_in, sources_out, d_model, d_model_out)
        self._kept_table = KeptTable()
        draw_weights(self, None)

    # ---- training --------------------------------------------------------------------------------------------------

    def training_step(
        self,
        x: Float[Tensor, "token source_in d_model"],
        context: StepContext | None = None,
        target: Float[Tensor, "token source_out d_out"] | None = None,
    ) -> StepOutput:
        """The weighted loss terms of one batch of raw activations; `target` is what a transcoder writes."""
        context = context or StepContext()
        if self.gate_norms is not None:
            raise DictionaryError("a crosscoder with folded scales cannot be trained; train it before folding.")
        if target is None and self.is_transcoder:
            raise DictionaryError("a transcoder needs the activations it is to write; give target.")
        x = self.normalise(x)
        y = x if target is None else self.normalise_target(target)
        pre = self.preactivation(x, self._kept_table)
        codes = self.activation(pre, context.k)
        error = y - self.decode_normalised(codes, x)
        terms = compute_terms(self, pre, codes, error, y, context)
        return StepOutput(terms, codes.detach(), error.detach(), y, self)

    def loss_terms(
        self, x: Float[Tensor, "token source_in d_model"], target: Float[Tensor, "token source_out d_out"] | None = None
    ) -> dict[str, Tensor]:
        """The weighted terms whose sum is the loss."""
        return self.training_step(x, None, target).terms

    @torch.no_grad()
    def after_step(self, codes: Codes) -> None:
        """Update what is estimated from training batches; call once per training step, never in evaluation."""
        assert self.training, "thresholds are estimated in training only"
        self.activation.after_step(codes, self.shared_norm(codes.norms))

    # ---- start -----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def initialise(
        self,
        x: Float[Tensor, "token source_in d_model"],
        generator: torch.Generator | None = None,
        target: Float[Tensor, "token source_out d_out"] | None = None,
    ) -> None:
        """Draw the weights, set the bias from a batch of raw activations, search the decoder norm if configured.

        Set the scales first. `target` is what a transcoder writes.
        """
        if target is None and self.is_transcoder:
            raise DictionaryError("a transcoder starts from the activations it is to write; give target.")
        target = x if target is None else target
        draw_weights(self, generator)
        set_bias(self, self.normalise_target(target))
        if self.config.init.norm_search:
            was_training = self.training
            search_norm(self.train(), x, target)
            self.train(was_training)

    # ---- other forms -----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def fold_scales(self) -> "Crosscoder":
        """The same dictionary on raw activations: scales 1, centres 0, equal codes, gates and reconstructions.

        W_enc ← W_enc s, b_enc ← b_enc - W_enc s·c, W_dec ← W_dec / s, b_dec ← b_dec / s + c. Thresholds stay, and so
        do the norms that the gates compare with them: they are kept in `gate_norms`, in the normalised space.
        """
        config = self.config.model_copy(update={"subtract_b_dec": False})
        folded = Crosscoder(config, self.sources_in, self.sources_out, self.d_model, self.d_out).to(self.W_enc)
        folded.gate_norms = self.decoder_norms().detach().clone()
        folded.load_state_dict(compute_folded(self))
        return folded.train(self.training)

    def save(self, directory: Path) -> None:
        """Write `config.json` and `weights.safetensors`."""
        description = Description(self.config, self.sources_in, self.sources_out, self.d_model, self.d_out)
        write_dictionary(directory, description, self.state_dict())


def load_dictionary(directory: Path | str) -> Crosscoder:
    """The dictionary that `save` wrote, in inference form; DictionaryError if there is none or it is damaged."""
    directory = Path(directory)
    description, tensors = read_dictionary(directory)
    crosscoder = Crosscoder(
        description.config, description.sources_in, description.sources_out, description.d_model, description.d_out
    )
    if "gate_norms" in tensors:
        crosscoder.gate_norms = torch.zeros_like(tensors["gate_norms"])
    expected = {name: tuple(tensor.shape) for name, tensor in crosscoder.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if expected != found:
        wrong = sorted(name for name in expected | found if expected.get(name) != found.get(name))
        raise DictionaryError(f"{directory / WEIGHTS_FILE} does not fit its config.json: {', '.join(wrong)} differ.")
    crosscoder.to(tensors["W_enc"].dtype).load_state_dict(tensors)
    return crosscoder.eval()
