"""An Azure Machine Learning workspace on your own machine, for the official clients."""

__version__ = "0.1.0"
