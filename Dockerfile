# The image of the Prefect server, of deployment and of workers: one version of everything.
# CPU: docker compose build. CUDA: TORCH_INDEX=https://download.pytorch.org/whl/cu130 docker compose build
FROM python:3.12-slim

# which torch: an index for CPU or CUDA builds; empty means PyPI
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

WORKDIR /app
RUN useradd --create-home --uid 10001 lvm
RUN mkdir -p -m 700 /data/home /data/artifacts /data/prefect
RUN chown -R lvm:lvm /data

# What changes least comes first: a change of code fetches none of it again. torch is not in the locks (see the Makefile).
RUN pip install --no-cache-dir torch==2.13.0 ${TORCH_INDEX:+--index-url $TORCH_INDEX}
COPY locks locks
RUN pip install --no-cache-dir --no-deps --require-hashes -r locks/ray.txt
COPY pyproject.toml README.md LICENSE prefect.yaml automations.yaml ./
COPY lvm lvm
COPY flows flows
COPY migrations migrations
RUN pip install --no-cache-dir --no-deps .

USER lvm
ENV LVM_HOME=/data/home \
    LVM_ARTIFACTS=/data/artifacts \
    LVM_QUIET=1 \
    PREFECT_HOME=/data/prefect \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    DO_NOT_TRACK=1
CMD ["lvm", "doctor"]
