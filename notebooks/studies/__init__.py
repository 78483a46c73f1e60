"""The papers' experiments: everything a result in ``notebooks/results`` was made with. Imported by
the notebooks, not installed.
"""
