"""``python -m medssl`` is ``medssl``."""

import sys

from medssl.cli import main

if __name__ == "__main__":
    sys.exit(main())
