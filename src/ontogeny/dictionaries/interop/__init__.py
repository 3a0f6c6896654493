"""Dictionaries of other projects: import theirs, export ours. What a format cannot hold is refused, never dropped.

A format is one file here with `recognise`, `load` and `save`, and one line in `FORMATS`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from ontogeny.config import config_error
from ontogeny.dictionaries.config import CrosscoderConfig
from ontogeny.dictionaries.crosscoder import Crosscoder
from ontogeny.dictionaries.interop import ckkissane, crosscoder_fork, dictionary_learning, lm_saes, saelens, sparsify
from ontogeny.dictionaries.interop.conversion import with_unit_decoder
from ontogeny.dictionaries.interop.folder import Folder, open_folder
from ontogeny.errors import DictionaryFormatError

T = TypeVar("T")

FORMATS = {
    module.NAME: module for module in (saelens, lm_saes, sparsify, crosscoder_fork, dictionary_learning, ckkissane)
}
"""Format -> the module that knows it, in the order in which a folder is shown to them."""
IMPORTERS: dict[str, Callable[[Folder], Crosscoder]] = {name: module.load for name, module in FORMATS.items()}
EXPORTERS: dict[str, Callable[[Crosscoder, Path], None]] = {name: module.save for name, module in FORMATS.items()}


def import_dictionary(path: Path | str, format: str | None = None) -> Crosscoder:
    """The crosscoder that another project's files describe, in inference form.

    path: folder with a configuration and a .safetensors file, or that file. format: a key of IMPORTERS; found from the
    files if not given. Codes and reconstructions are those of the project's own code, for raw activations. Errors:
    DictionaryFormatError for pickles (`.pt`), for unknown files and for whatever a crosscoder cannot hold.
    """
    folder = open_folder(path)
    if format is None:
        format = next((name for name, module in FORMATS.items() if module.recognise(folder)), None)
        if format is None:
            raise DictionaryFormatError(
                f"{folder.path} is of no known format ({', '.join(FORMATS)}): its tensors are "
                f"{', '.join(sorted(folder.shapes))}."
            )
    try:
        return _known(IMPORTERS, format)(folder)
    except ValidationError as error:
        raise config_error(error, CrosscoderConfig, str(folder.path)) from error


def export_dictionary(crosscoder: Crosscoder, dest: Path | str, format: str, *, unit_decoder: bool = False) -> None:
    """Write a crosscoder as another project's files, to be read there with raw activations.

    dest: folder, made if missing. format: a key of EXPORTERS. unit_decoder: first scale every latent of a one-source
    dictionary to ||W_dec[j]|| = 1, its codes to f · ||W_dec[j]||; those of several sources behind one gate become their
    scores. Reconstructions are the same. Errors: DictionaryFormatError for what the format cannot hold.
    """
    save = _known(EXPORTERS, format)
    save(with_unit_decoder(crosscoder) if unit_decoder else crosscoder, Path(dest))


def _known(registry: dict[str, T], format: str) -> T:
    if format not in registry:
        raise DictionaryFormatError(f"there is no format {format!r}; known are {', '.join(registry)}.")
    return registry[format]


__all__ = ["EXPORTERS", "IMPORTERS", "export_dictionary", "import_dictionary"]
