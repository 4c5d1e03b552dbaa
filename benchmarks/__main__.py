"""Entry point of `python -m benchmarks`."""

from benchmarks import command

if __name__ == "__main__":
    command.main()
