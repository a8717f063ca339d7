# The trainer as an image, for GPUs: docker build -t trainer-openmm:latest .
# For processors only: docs/container.md has the command, and what each argument is for.

# The first has nvcc, of the CUDA that torch's wheels are built with; the second only needs the same Python, since
# torch's wheels bring CUDA's libraries along.
ARG BUILD_IMAGE=nvidia/cuda:13.0.2-devel-ubuntu24.04
ARG BASE_IMAGE=ubuntu:24.04


# What every final stage stands on: Python, a first process that passes signals on, a user, folders to write in.
FROM ${BASE_IMAGE} AS base
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates python3 tini \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log
# Any user may write here, since clusters choose users of their own; a named volume takes these rights over.
RUN (getent passwd 1000 || useradd --uid 1000 --user-group --home-dir /workspace --no-create-home trainer) \
    && mkdir -p /workspace /data/datasets /data/models \
    && chmod 1777 /workspace /data/datasets /data/models
# A home that can be written whoever the user is, and a name for one that the system doesn't know.
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/workspace \
    USER=trainer \
    LOGNAME=trainer \
    PYTHONUNBUFFERED=1


# The trainer's environment. Only this stage has compilers.
FROM ${BUILD_IMAGE} AS build
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        ca-certificates g++ python3 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /app
# An index that torch is taken from instead, where its build matters (one for processors only).
ARG TORCH_INDEX=
# GPUs that mmcv's operators are compiled for: Turing to Blackwell, and what comes after.
ARG TORCH_CUDA_ARCH_LIST="7.5 8.0 8.6 8.9 9.0 10.0 12.0+PTX"
# The package's optional parts beside what every training needs.
ARG EXTRAS=postgresql,grpc
# Nothing but this decides what is installed, so that a changed line of the trainer installs nothing anew. The package
# is installed as a pointer to this folder, where the last stage puts the rest.
COPY pyproject.toml README.md LICENSE ./
COPY scripts/setup scripts/setup
COPY scripts/container scripts/container
COPY trainer/__init__.py trainer/__init__.py
# No GPU is seen while an image is built: nvcc alone says that there will be one. Compiled wheels are kept between
# builds, by distribution, since they are bound to its C library.
RUN --mount=type=cache,target=/root/.cache \
    . /etc/os-release \
    && export TRAINER_CACHE="/root/.cache/trainer/$ID-$VERSION_ID" PIP_EXTRA_INDEX_URL="$TORCH_INDEX" \
    && if command -v nvcc; then export FORCE_CUDA=1; fi \
    && mkdir conf \
    && python3 scripts/setup/main.py --target /opt/venv --no-dev \
    && /opt/venv/bin/python -m pip install --no-input --no-compile --no-build-isolation \
        -c scripts/setup/lock.txt -c scripts/setup/lock-dev.txt -e ".${EXTRAS:+[$EXTRAS]}" \
    && /opt/venv/bin/python scripts/container/slim.py


# Servers for a team, without the trainer: MLflow and Optuna's dashboard. Built only where it is asked for.
FROM base AS build-servers
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*
COPY scripts/setup/lock.txt scripts/setup/lock-dev.txt /tmp/
RUN python3 -m venv /opt/venv \
    && python -m pip install --no-cache-dir --prefer-binary -c /tmp/lock.txt -c /tmp/lock-dev.txt \
        mlflow optuna-dashboard 'psycopg[binary]' boto3

FROM base AS servers
LABEL org.opencontainers.image.title="trainer-openmm-servers" \
      org.opencontainers.image.description="MLflow and Optuna's dashboard, in the trainer's versions"
COPY --from=build-servers /opt/venv /opt/venv
WORKDIR /workspace
USER 1000:1000
ENTRYPOINT ["tini", "--"]
CMD ["mlflow", "server", "--host", "0.0.0.0"]


# The trainer. Last, so that it is what a build without a target makes.
FROM base AS trainer
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="trainer-openmm" \
      org.opencontainers.image.description="A trainer for OpenMMLab: detection, segmentation and pose" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
# Where the platform's manifests expect them; what the trainer needs beyond, it finds below /tmp by itself.
ENV MPLCONFIGDIR=/tmp/matplotlib \
    NO_ALBUMENTATIONS_UPDATE=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=build /opt/venv /opt/venv
WORKDIR /app
COPY . .
# Nobody can write here later, so that every start would compile anew what isn't compiled now. And an environment
# whose Python is another distribution's would not even get this far.
RUN python -m compileall -q trainer ./*.py \
    && python -c "import mmcv.ops, mmdet, mmseg, mmpose, albumentations, faster_coco_eval, xtcocotools.coco, \
mlflow, numpy.testing, onnxruntime, onnxscript, pandas, sklearn.metrics, matplotlib.pyplot, trainer.cli.command_line" \
    && python -m trainer models rtmdet-tiny > /dev/null \
    && rm -rf /tmp/* /workspace/.??*
USER 1000:1000
# Kubernetes' "command" replaces the entry point: the scripts are then the first process themselves, and ready for it.
STOPSIGNAL SIGTERM
ENTRYPOINT ["tini", "--"]
CMD ["python", "train.py"]
