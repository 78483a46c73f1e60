"""Run the study from the command line."""

from studies.uio66.study import main

if __name__ == "__main__":
    main()
