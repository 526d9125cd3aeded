"""`python -m natslite` is `natslite-server`."""

import sys

from natslite.cli import main

if __name__ == "__main__":
    sys.exit(main())
