"""Models whose matrices take 8 or fewer bits a number."""

from __future__ import annotations

from collections.abc import Callable

import pyformer as pf
from pyformer import nn
from pyformer.identity import TensorMap

FORMATS = {"q8": ("q8", "q8"), "q4": ("Q4_1", "Q8_0")}  # of matrices; of the table of tokens and the last projection


def check(how: str | None) -> None:
    """ValueError unless `from_pretrained` knows `quantize=how`."""
    if how not in (None, "keep", *FORMATS):
        raise ValueError(f"from_pretrained: quantize must be 'keep', 'q8' or 'q4', got {how!r}")


def quantize(model: nn.Module, how: str, where: Callable[[str], bool] | None = None) -> None:
    """What `Pretrained.quantize` does."""
    if how not in FORMATS:
        raise ValueError(f"quantize: expected 'q8' or 'q4', got {how!r}")
    if any(".lora_A." in name for name in model.state_dict()):
        raise ValueError("quantize: the model has LoRA layers: pf.lora.merge first")
    words = getattr(model.config, "vocab_size", None)
    head = getattr(model, "head", None)
    meant: dict[nn.Projection, str] = {}
    for name, module in model.named_modules():
        is_table = isinstance(module, nn.Embedding) and module.num_embeddings == words
        is_meant = isinstance(module, nn.Linear) or is_table
        if is_meant and module.quantized is None and (where is None or where(name)):
            meant[module] = FORMATS[how][is_table or module is head]
    for module, kind in meant.items():  # all, before the first one changes
        module._check_quantize(kind)
    made: TensorMap[pf.QuantizedWeight] = TensorMap()  # what is one weight becomes one matrix
    for module, kind in meant.items():
        weight = module.matrix
        matrix = made.get(weight)
        module.quantize(kind if matrix is None or matrix.format != kind else matrix)
        made.setdefault(weight, module.quantized)


def matrices(model: nn.Module) -> dict[str, pf.QuantizedWeight]:
    """The quantised matrices of a model, by the names that their weights would have in its state dict."""
    return {
        f"{name}.weight": module.quantized
        for name, module in model.named_modules()
        if isinstance(module, nn.Projection) and module.quantized is not None
    }


def shared_names(model: nn.Module) -> dict[str, str]:
    """Of `matrices`, each further name of a matrix, with its first name."""
    first: dict[pf.QuantizedWeight, str] = {}
    names = {name: first.setdefault(matrix, name) for name, matrix in matrices(model).items()}
    return {name: other for name, other in names.items() if name != other}
