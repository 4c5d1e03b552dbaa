"""Entry point of `python -m data_prep.import_released`."""

from data_prep.import_released import command

if __name__ == "__main__":
    command.main()
