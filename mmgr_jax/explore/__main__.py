"""`python -m mmgr_jax.explore`."""

from mmgr_jax.explore import command

if __name__ == "__main__":
    command.main()
