# One image for a machine with a CPU, with NVIDIA GPUs, and for a TPU VM: JAX comes from
# PyPI, and its extras bring CUDA or libtpu. docs/cloud.md says how to run it.
#
#   docker build -t mmgr .                                      # CPU
#   docker build -t mmgr:cuda --build-arg EXTRAS=cuda .         # GPUs
#   docker build -t mmgr:tpu --build-arg EXTRAS=tpu,remote .    # a TPU VM, gs:// records
ARG PYTHON=3.12.8-slim-bookworm

FROM python:${PYTHON} AS wheel
WORKDIR /source
COPY pyproject.toml setup.py requirements.txt README.md LICENSE ./
COPY mmgr_jax mmgr_jax
COPY data_prep data_prep
COPY configs configs
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:${PYTHON}
# What the wheels of all libraries together want from the system beside the C library
# (tests/test_dockerfile.py looks into them). Debian's own versions, of the release above.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libexpat1 libstdc++6 zlib1g \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 mmgr
ARG EXTRAS=""
# The wheel bounds the versions.
# hadolint ignore=DL3013
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    wheel="$(ls /wheels/mmgr_jax-*.whl)" \
    && pip install --no-cache-dir "${wheel}${EXTRAS:+[${EXTRAS}]}" \
    && mmgr --version
# Whoever runs it, by --user, can write what libraries and compiled programs keep.
ENV HOME=/tmp
USER 1000:1000
WORKDIR /work
ENTRYPOINT ["mmgr"]
CMD ["--help"]
