"""`python -m mmgr_jax.plan`: plans memory, time and data exchanges of a run."""

import json
import logging

from absl import flags
from ml_collections import ConfigDict

from mmgr_jax import cli, settings
from mmgr_jax.devices.settings import MeshSettings
from mmgr_jax.planning.names import HERE, TPU_SLICES

USAGE = """Compiles the training step for a machine that you do not have.

It says whether the step fits into the memory of each chip, which micro-batch fits, what
one view costs, what the chips send to each other, and how long the run would take at
best. It also says how often each city of a corpus is shown, how much disk the records
need, and what reading costs each host. You need no records. TPU slices need jax[tpu]
(docs/cloud.md). Compiling takes minutes and a few GB of memory.

  python -m mmgr_jax.plan --config=configs/shanghai.py:large_batch --topology=v5e:16x16
  python -m mmgr_jax.plan --config=configs/shanghai.py:large_batch \\
      --topology=v5e:16x16 --num_slices=2
  python -m mmgr_jax.plan --config=configs/toy_city.py --topology=here --json
  python -m mmgr_jax.plan --config=configs/shanghai.py:large_batch \\
      --num_cities=100 --num_regions=1000000 --topology=v5e:16x16
  python -m mmgr_jax.plan --config=... --regions_per_s=31232   # measured: no compiling
"""

_TOPOLOGY = flags.DEFINE_string(
    "topology",
    HERE,
    "A TPU slice, such as " + ", ".join(TPU_SLICES) + "; or the devices here.",
)
_NUM_SLICES = flags.DEFINE_integer(
    "num_slices", 1, "Slices of that shape that train together.", lower_bound=1
)
_DCN = flags.DEFINE_float(
    "dcn_gbit_per_s",
    25.0,
    "Network between slices: the rate that one chip gets, Gbit/s each way.",
    lower_bound=1e-3,
)
_NUM_REGIONS = flags.DEFINE_integer(
    "num_regions", 20_000, "Regions, where there are no records.", lower_bound=1
)
_MAX_POIS = flags.DEFINE_integer(
    "max_pois",
    256,
    "POIs of the fullest region, where there are no records.",
    lower_bound=1,
)
_NUM_CATEGORIES = flags.DEFINE_integer(
    "num_categories", 400, "POI categories, where there are no records.", lower_bound=1
)
_NUM_CITIES = flags.DEFINE_integer(
    "num_cities",
    None,
    "Plan for a corpus of this many cities of equal size, even where there are "
    "records; --num_regions counts the regions of all cities together.",
    lower_bound=1,
)
_REGIONS_PER_S = flags.DEFINE_float(
    "regions_per_s",
    None,
    "Measured rate of all devices together, regions a second: hours and input are "
    "computed from it, and nothing is compiled.",
    lower_bound=1e-9,
)
_NUM_HOSTS = flags.DEFINE_integer(
    "num_hosts", 1, "Hosts that share a batch, with --regions_per_s.", lower_bound=1
)
_JSON = flags.DEFINE_bool("json", False, "Print one JSON object and nothing else.")


def main(config: ConfigDict) -> None:
    """Makes the plan and prints it."""
    from mmgr_jax.planning import planner, records, report, topology  # they load JAX

    if _JSON.value:
        logging.getLogger().setLevel(logging.WARNING)
    shown = records.records_of(
        config,
        num_regions=_NUM_REGIONS.value,
        max_pois=_MAX_POIS.value,
        num_categories=_NUM_CATEGORIES.value,
        num_cities=_NUM_CITIES.value,
    )
    if _REGIONS_PER_S.value:
        planned = planner.plan_by_rate(
            config,
            shown,
            regions_per_s=_REGIONS_PER_S.value,
            num_hosts=_NUM_HOSTS.value,
        )
    else:
        planned = planner.plan(
            config,
            topology.mesh_of(
                _TOPOLOGY.value,
                settings.read(MeshSettings, config.mesh, "mesh"),
                _NUM_SLICES.value,
            ),
            shown,
            topology=_TOPOLOGY.value,
            dcn_gbit_per_s=_DCN.value,
        )
    print(json.dumps(planned.to_json()) if _JSON.value else report.page(planned))


if __name__ == "__main__":
    cli.run(main, USAGE, loads_jax=True)
