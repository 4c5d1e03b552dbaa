"""Entry point of `python -m data_prep.bench`."""

from data_prep.bench import command

if __name__ == "__main__":
    command.main()
