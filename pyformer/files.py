"""`pyformer.formats` under its former name."""

from pyformer.formats import *  # noqa: F403
