"""Entry point of `python -m data_prep.fetch`."""

from data_prep.fetch import command

if __name__ == "__main__":
    command.main()
