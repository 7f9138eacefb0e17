"""Texts from models that predict a next token: sampling, rows that join and leave, guesses, beam search."""

from pyformer.generation.beam import beam_search
from pyformer.generation.decoder import Decoder
from pyformer.generation.generate import Chosen, generate, stream
from pyformer.generation.prompt_cache import PromptCache
from pyformer.generation.sampling import Sampler
from pyformer.generation.stopping import StopText

__all__ = ["Chosen", "Decoder", "PromptCache", "Sampler", "StopText", "beam_search", "generate", "stream"]
