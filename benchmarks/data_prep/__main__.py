"""Entry point of `python -m benchmarks.data_prep`."""

from benchmarks.data_prep import command

if __name__ == "__main__":
    command.main()
