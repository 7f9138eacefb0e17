"""`python -m pyformer`: the command line."""

import sys

from pyformer.cli import main

sys.exit(main())
