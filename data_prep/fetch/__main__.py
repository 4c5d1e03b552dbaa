"""Entry point of `python -m data_prep.fetch`."""

from data_prep.fetch import request
from mmgr_jax import cli


def main() -> None:
    """Parses the flags and fetches; loads libraries after the flags are checked."""
    holders = request.flags_of()

    def command() -> None:
        from data_prep.fetch import command

        fields = {name: holder.value for name, holder in holders.items()}
        command.fetch_and_go_on(request.Request(**fields))

    cli.run_without_config(command, request.USAGE, list(holders.values()))


if __name__ == "__main__":
    main()
