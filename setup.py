"""What goes into a wheel; all else stands in pyproject.toml.

The packages, and the configs that come with the program, as `mmgr_jax.shipped.configs`:
`configs` would be a poor name for a package that everybody has, and other files of that
folder are the user's own.
"""

from setuptools import find_packages, setup

CONFIGS = (
    "ablation", "common", "helsinki", "labels", "my_city", "recipes",
    "released_sample", "santa_monica", "shanghai", "socal", "toy_cities", "toy_city",
    "transfer", "wuhan",
)  # fmt: skip

setup(
    packages=find_packages(include=["mmgr_jax*", "data_prep*"]),
    package_dir={"mmgr_jax.shipped.configs": "configs"},
    py_modules=[f"mmgr_jax.shipped.configs.{name}" for name in CONFIGS],
)
