"""`python -m circuits.cli`: the command line without its installed script."""

from circuits.cli.app import main

if __name__ == "__main__":
    main()
