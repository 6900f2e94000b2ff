# One image for the code server, the daemon, the web server and `sync-pipelines`: see docs/docker.md.
ARG PYTHON=3.12

FROM python:${PYTHON}-slim-bookworm AS build
WORKDIR /build
# Extras of remote landings, separated by commas: s3, gcs, azure, sftp. Pinned by constraints.txt, without hashes.
ARG EXTRAS=""
RUN python -m venv /opt/sync_pipelines
ENV PATH=/opt/sync_pipelines/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
# Dependencies first: they change less often than the code.
COPY locks/pip.txt locks/run.txt locks/
RUN python -m pip install --require-hashes -r locks/pip.txt \
    && python -m pip install --require-hashes --no-deps --only-binary :all: -r locks/run.txt
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY sync_pipelines sync_pipelines
RUN python -m pip install --no-deps --no-build-isolation . \
    && if [ -n "$EXTRAS" ]; then python -m pip install --no-build-isolation -c constraints.txt ".[$EXTRAS]"; fi
# Each run is a process; with compiled modules it starts twice as fast. Some packages contain files that no Python 3 compiles.
RUN python -m compileall -q -j 0 /opt/sync_pipelines/lib || true

FROM python:${PYTHON}-slim-bookworm
RUN useradd --uid 10001 --user-group --create-home --shell /usr/sbin/nologin sync \
    && install -d -o sync -g sync -m 0700 /var/lib/sync_pipelines \
    && install -d -o sync -g sync /landing /config /opt/dagster
COPY --from=build /opt/sync_pipelines /opt/sync_pipelines
COPY --chown=sync:sync sync_pipelines/orchestration/dagster.yaml deploy/docker/workspace.yaml /opt/dagster/
ENV PATH=/opt/sync_pipelines/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    DAGSTER_HOME=/opt/dagster \
    SYNC_HOME=/var/lib/sync_pipelines \
    SYNC_LANDING=/landing \
    SYNC_SOURCES=/config/sources.yaml
USER sync
WORKDIR /home/sync
VOLUME ["/var/lib/sync_pipelines"]
EXPOSE 3000 4266
CMD ["sync-pipelines", "--help"]
