"""``python -m microstream_lab``: the command line, where the script is not on the path."""

from microstream_lab.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
