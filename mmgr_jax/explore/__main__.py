"""`python -m mmgr_jax.explore`: makes a page that shows a city's embeddings."""

from absl import flags
from ml_collections import ConfigDict

from mmgr_jax import cli
from mmgr_jax.devices.settings import FOR_FEATURES
from mmgr_jax.extras import install

USAGE = f"""Writes one HTML page over a city's embeddings.

It opens by a double click and needs no network. It shows imagery, regions, labels,
predictions with their intervals, groups of similar regions, and a search for regions
that are alike. Features and heads are those of `mmgr_jax.eval` and `mmgr_jax.embed`;
missing ones are made. Details: docs/explore.md. It needs the library of the map:
{install("explore")}.

  python -m mmgr_jax.explore --config=configs/toy_city.py
  python -m mmgr_jax.explore --config=... --out=city.html
  python -m mmgr_jax.explore --config=... --config.embed.features=both
  python -m mmgr_jax.explore --config=... --serve
  python -m mmgr_jax.explore --config=... --occlusion=200

--serve writes no file. A small server answers the page, for up to 1,000,000 regions. It
can be reached from this machine only. --host and --port name another place; then the
address holds a random token, without which nothing is answered.

--occlusion also says what predictions lose where a part of the tile is painted over or
a category of POIs is left out: of so many regions, of "all", or of "ids:ID,ID". Each is
read some thirty times.

What changed since an earlier year, whose records the same encoder reads:

  python -m mmgr_jax.explore --config=later.py --before=data/earlier/records
  python -m mmgr_jax.explore ... --before=... --unchanged=known.csv
"""


def main() -> None:
    """Entry point of `python -m mmgr_jax.explore`."""
    out = flags.DEFINE_string("out", None, "The page: a file ending in .html.")
    before = flags.DEFINE_string(
        "before", None, "Records folder of an earlier year: what changed since then."
    )
    unchanged = flags.DEFINE_string(
        "unchanged", None, "A CSV with region_id: regions that did not change since."
    )
    occlusion = flags.DEFINE_string(
        "occlusion",
        None,
        "Regions read again without parts of them: all, a number, or ids:ID,ID.",
    )
    serves = flags.DEFINE_bool(
        "serve", False, "Write no file; let a small server answer the page."
    )
    host = flags.DEFINE_string(
        "host", "127.0.0.1", "Address on which the server listens."
    )
    port = flags.DEFINE_integer(
        "port", 8420, "Port of the server; 0: any that is free.", 0, 65535
    )

    def make(config: ConfigDict) -> None:
        from mmgr_jax.devices import distributed  # libraries load once flags are fine
        from mmgr_jax.errors import InputError
        from mmgr_jax.explore import command, serve

        if serves.value:
            of_files = {"out": out, "before": before, "unchanged": unchanged}
            for name, flag in (of_files | {"occlusion": occlusion}).items():
                if flag.value is not None:
                    raise InputError(f"--{name} and --serve: give one of them.")
            distributed.by_first(serve.serve)(config, host.value, port.value)
            return
        explore = distributed.by_first(command.explore)
        explore(config, out.value, before.value, unchanged.value, occlusion.value)

    cli.run(
        make,
        USAGE,
        shortcuts=("workdir", "checkpoint"),
        session=cli.session,
        cpu_devices=FOR_FEATURES,
    )


if __name__ == "__main__":
    main()
