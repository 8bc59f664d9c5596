"""Run the emulator with ``python -m azureml_emulator``."""

import sys

from azureml_emulator.cli import main

sys.exit(main())
