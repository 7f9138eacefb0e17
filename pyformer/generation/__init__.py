"""Texts from models that predict a next token."""

from pyformer.generation.sampling import Chooser, Decoder, generate, read_prompts

__all__ = ["Chooser", "Decoder", "generate", "read_prompts"]
