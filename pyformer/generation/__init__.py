"""Texts from models that predict a next token: sampling, rows that join and leave, beam search."""

from pyformer.generation.beam import beam_search
from pyformer.generation.decoder import Decoder
from pyformer.generation.generate import generate
from pyformer.generation.sampling import Sampler

__all__ = ["Decoder", "Sampler", "beam_search", "generate"]
