"""The platform's inference job: see docs/platform.md for the variables that it reads."""

import sys

from trainer.platform.entry import main

if __name__ == "__main__":
    sys.exit(main("predict"))
