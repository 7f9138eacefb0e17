"""LoRA: a model's weights stay as they are, and beside some of them two thin matrices learn what to add.

Hu et al. 2021, "LoRA: Low-rank adaptation of large language models". Files are those of the library `peft`.
"""

from pyformer.lora.layer import LoRALinear
from pyformer.lora.merging import merge
from pyformer.lora.placing import Adapter, add
from pyformer.lora.reader import load
from pyformer.lora.writer import save

__all__ = ["Adapter", "LoRALinear", "add", "load", "merge", "save"]
