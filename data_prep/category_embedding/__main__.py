"""Entry point of `python -m data_prep.category_embedding`."""

from data_prep.category_embedding import command

if __name__ == "__main__":
    command.main()
