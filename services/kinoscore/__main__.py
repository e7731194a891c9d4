"""`python -m kinoscore` is the command `kinoscore`."""

from kinoscore.cli import main

if __name__ == "__main__":
    main()
