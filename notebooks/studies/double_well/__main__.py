"""Run the study: ``python -m studies.double_well --help``."""

from .study import main

if __name__ == "__main__":
    main()
