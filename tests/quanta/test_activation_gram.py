"""Products of MLP activations against hooks on a plain forward of the whole document."""

import numpy as np
import pytest
import torch

from ontogeny.quanta.activation_gram import ACTIVATIONS, compute_activation_gram
from ontogeny.quanta.config import GramConfig
from quanta.gradient_oracles import DOCUMENTS, TOKENS, cosines, tiny_model
from snapshots.tiny_models import CONFIGS

LAST_MAPS = {"gpt2": "c_proj", "gpt_neox": "dense_4h_to_h", "bloom": "dense_4h_to_h"}


@pytest.mark.parametrize("name", list(CONFIGS))
def test_what_enters_the_last_map_of_every_mlp(name: str) -> None:
    model = tiny_model(name)
    wanted = LAST_MAPS.get(name.removesuffix("_sequential"), "down_proj")
    inside = [
        module
        for path, module in model.module.named_modules()
        if path.endswith(f"mlp.{wanted}") and "vision" not in path
    ]
    seen: list[torch.Tensor] = []
    handles = [each.register_forward_pre_hook(lambda _, args: seen.append(args[0][0].detach())) for each in inside]
    rows = []
    for document, place in zip(*DOCUMENTS.locate(TOKENS)):
        seen.clear()
        with torch.no_grad():
            model(torch.from_numpy(DOCUMENTS.document(int(document)))[None])
        rows.append(torch.stack([each[place - 1] for each in seen]))
    for handle in handles:
        handle.remove()
    expected = torch.stack(rows)  # [token layer width]
    whole = compute_activation_gram(model, DOCUMENTS, TOKENS, GramConfig(batch_tokens=20))
    np.testing.assert_allclose(whole.similarity(), cosines(expected.flatten(1)), atol=1e-9)
    tight = compute_activation_gram(model, DOCUMENTS, TOKENS, GramConfig(by_layer=True, memory=1e-5))
    for layer in range(model.n_layers):
        products = (expected[:, layer] @ expected[:, layer].T).numpy()
        np.testing.assert_allclose(tight.products[ACTIVATIONS, layer], products, atol=1e-9)
