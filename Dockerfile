# The serving image: Python, what requirements.lock pins, and Lookalike as a wheel; no torch, no compiler, no pip cache.
# It runs as a user of its own on a read-only root file system and writes to /data, /keys and /tmp alone.
#
#     docker build -t lookalike:0.1.0 .
#
# From a bundle (make airgap-bundle) no index is asked: the wheels lie in wheels/ and pip is told so.
#     docker build --network none --build-arg PIP_NO_INDEX=1 --build-arg PIP_FIND_LINKS=/source/wheels -t lookalike:0.1.0 .
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ARG PIP_NO_INDEX
ARG PIP_FIND_LINKS
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /source
COPY . .
RUN python -m venv /opt/lookalike \
 && /opt/lookalike/bin/pip install --no-deps --require-hashes --only-binary :all: -r requirements.lock \
 && /opt/lookalike/bin/pip install --no-deps --no-build-isolation . \
 && /opt/lookalike/bin/pip uninstall --yes setuptools pip

FROM ${BASE}
RUN groupadd --gid 10001 lookalike \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin lookalike \
 && install -d -o 10001 -g 10001 -m 0700 /data /keys /backups /ledger
COPY --from=build /opt/lookalike /opt/lookalike
COPY deploy/healthcheck.py /opt/lookalike/healthcheck.py
ENV PATH=/opt/lookalike/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    LOOKALIKE_DATA=/data \
    LOOKALIKE_KEYS=file:/keys/root.key \
    LOOKALIKE_HOST=0.0.0.0
WORKDIR /tmp
USER 10001:10001
VOLUME ["/data", "/keys"]
EXPOSE 8443
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-P", "/opt/lookalike/healthcheck.py"]
ENTRYPOINT ["python", "-P", "/opt/lookalike/bin/lookalike"]
CMD ["serve"]
