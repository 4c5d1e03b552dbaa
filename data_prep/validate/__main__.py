"""Entry point of `python -m data_prep.validate`."""

from data_prep.validate import command

if __name__ == "__main__":
    command.main()
