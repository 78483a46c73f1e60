"""Run the study: ``python -m studies.malonaldehyde --help``."""

from .study import main

if __name__ == "__main__":
    main()
