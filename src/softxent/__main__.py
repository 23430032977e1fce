"""`python -m softxent`: the command line, where the script isn't on the path."""

import sys

from softxent.cli import main

sys.exit(main())
