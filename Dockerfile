# What compose.yaml runs: the package with the locked libraries of requirements-ci.lock, which has the
# broker's client; `docker build .` needs nothing but this folder and a package index.
FROM python:3.12-slim

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
    PYTHONUNBUFFERED=1 MICROSTREAM_HOME=/lab NUMBA_CACHE_DIR=/tmp/numba

WORKDIR /lab
COPY requirements-ci.lock ./
RUN pip install --no-deps --require-hashes --requirement requirements-ci.lock

COPY pyproject.toml README.md LICENSE ./
COPY microstream_lab ./microstream_lab
COPY notebooks ./notebooks
RUN pip install --no-deps --no-build-isolation --editable . \
    && useradd --no-create-home --home-dir /lab lab \
    && mkdir -p data models \
    && chown -R lab data models notebooks

USER lab
ENTRYPOINT ["microstream"]
CMD ["--help"]
