"""The papers' experiments, each a module that runs without Jupyter: ``python -m agal_toolkit.studies.double_well --help``."""
