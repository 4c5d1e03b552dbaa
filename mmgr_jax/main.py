"""`python -m mmgr_jax.main`: makes trained embeddings and maps from a city's config."""

from absl import flags
from ml_collections import ConfigDict

from mmgr_jax import addresses, cli, run_settings, summary
from mmgr_jax.data.settings import CorpusSettings
from mmgr_jax.settings import read

USAGE = """Pre-trains region embeddings from imagery and points of interest.

It builds the records if they are missing, trains with both contrastive losses,
evaluates the features and draws the maps. If the run was stopped, give the same command
again: it continues from the newest checkpoint. One model can be trained on several
cities (docs/many_cities.md). Then the config's own city is built, evaluated and mapped.

  python -m mmgr_jax.main --config=configs/toy_city.py
  python -m mmgr_jax.main --config=configs/shanghai.py --workdir=runs/first
  python -m mmgr_jax.main --config=configs/shanghai.py:runlocal --config.seed=1
  python -m mmgr_jax.main --config=configs/shanghai.py \\
      --config.corpus.records="('data/*/records',)"
  srun python -m mmgr_jax.main --config=configs/shanghai.py:large_batch
  python -m mmgr_jax.main --config=configs/my_city.py --dry_run

Before training it checks what would fail or disappoint later: enough blocks for the
folds, enough regions for a batch, labels, POIs. --dry_run does only this, and measures
a few steps: memory on this machine and hours of the run. It writes nothing. Without
labels a run ends in embeddings and a map of their clusters.

It writes to the workdir: checkpoints/, metrics.jsonl, tensorboard/, eval/ and maps/.
"""


def main(config: ConfigDict) -> None:
    """Builds, trains, evaluates and maps; each step loads its libraries itself."""
    from data_prep import build  # the one place where training meets preparation
    from mmgr_jax.data import opening
    from mmgr_jax.devices import distributed

    settings = read(CorpusSettings, config.corpus, "corpus")
    after = run_settings.read(config).after_training
    if after or not settings.records:
        apart = addresses.is_address(config.records.dir)  # each host has a copy
        (build.ensure if apart else distributed.by_first(build.ensure))(config)
    distributed.barrier("records")
    # From here to the end nobody replaces the records.
    with opening.kept(settings, config.records.dir):
        from mmgr_jax import preflight

        if not settings.records and not addresses.is_address(config.records.dir):
            after = preflight.check(config)
        from mmgr_jax.evaluation import mapping
        from mmgr_jax.evaluation import run as evaluation
        from mmgr_jax.evaluation.while_training import Evaluator
        from mmgr_jax.train import loop

        workdir = loop.train(config, Evaluator(config))
        if distributed.is_first():
            summary.end([], {"run": workdir})
        after_training = {"eval": evaluation.evaluate, "embed": mapping.embed}
        for name in after:
            distributed.by_first(after_training[name])(config)


def rehearse(config: ConfigDict) -> None:
    """Prints what is wrong and how much training would need; writes nothing."""
    from data_prep import build
    from mmgr_jax import preflight

    preflight.rehearse(config, build.foreseen(config))


def command() -> None:
    """Entry point of `python -m mmgr_jax.main`."""
    dry_run = flags.DEFINE_bool(
        "dry_run",
        False,
        "Check, and measure a few steps: memory and hours of the training; write "
        "nothing.",
    )

    def run(config: ConfigDict) -> None:
        with summary.together(logged=True):
            (rehearse if dry_run.value else main)(config)

    cli.run(run, USAGE, shortcuts=("workdir",), session=cli.session)


if __name__ == "__main__":
    command()
