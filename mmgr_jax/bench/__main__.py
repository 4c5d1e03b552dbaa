"""Entry point of `python -m mmgr_jax.bench`."""

from mmgr_jax.bench import command

if __name__ == "__main__":
    command.main()
