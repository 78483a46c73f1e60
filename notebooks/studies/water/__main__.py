"""Run the study from the command line."""

from studies.water.study import main

if __name__ == "__main__":
    main()
