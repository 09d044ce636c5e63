# syntax=docker/dockerfile:1

# --- builder: everything the broker needs, in one virtual environment -------------------------
FROM python:3.11-slim AS builder

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1

WORKDIR /src
RUN python -m venv /opt/event-broker

# The dependencies first: this layer is rebuilt only when they change.
COPY pyproject.toml constraints.txt ./
COPY scripts/dependencies.py scripts/
RUN python scripts/dependencies.py > requirements.txt \
    && /opt/event-broker/bin/pip install -c constraints.txt -r requirements.txt \
    && pip install -c constraints.txt hatchling

COPY README.md LICENSE ./
COPY persistence/ persistence/
COPY actors/ actors/
COPY web/ web/
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/event-broker/bin/pip install --no-deps /wheels/*.whl

# --- development: the code is mounted over /app, the broker restarts when it changes ----------
FROM builder AS development

WORKDIR /app
COPY . .
RUN /opt/event-broker/bin/pip install -c constraints.txt hatchling editables \
    && /opt/event-broker/bin/pip install -c constraints.txt --no-build-isolation -e '.[dev]' \
    && useradd --system --uid 10001 broker \
    && install -d -o broker /data
ENV DATA_DIR=/data HOST=0.0.0.0
USER broker
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/event-broker/bin/python", "scripts/reload.py", "/opt/event-broker/bin/event-broker", "serve"]

# --- the image that runs ----------------------------------------------------------------------
FROM python:3.11-slim AS final

RUN useradd --system --uid 10001 broker \
    && install -d -o broker /data
COPY --from=builder /opt/event-broker /opt/event-broker
COPY scripts/healthcheck.py /opt/event-broker/healthcheck.py

ENV DATA_DIR=/data \
    HOST=0.0.0.0 \
    PATH=/opt/event-broker/bin:$PATH
USER broker
VOLUME /data
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "/opt/event-broker/healthcheck.py"]
# The exec form: the broker is process 1 and gets the signals itself.
ENTRYPOINT ["event-broker", "serve"]
