"""`python -m ecad_search`, from the pack's folder."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
