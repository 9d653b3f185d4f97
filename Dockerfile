# memorysam in a container. PyTorch's default build for Linux brings CUDA and several gigabytes; for its CPU build, or
# another CUDA, name its index as pytorch.org/get-started does: --build-arg TORCH_OPTIONS="--index-url ...".
# Run with --gpus all where there are any, and --shm-size=2g for the processes that read data.
FROM python:3.11-slim-bookworm AS build
ARG TORCH_OPTIONS=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /source
RUN python -m venv /opt/memorysam
ENV PATH=/opt/memorysam/bin:$PATH
COPY constraints.txt ./
# Before the source, so that a change of it does not fetch PyTorch again. The options are several words.
# hadolint ignore=SC2086
RUN pip install $TORCH_OPTIONS --constraint constraints.txt torch
COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY configs configs
RUN pip install --constraint constraints.txt '.[figures,log]'

FROM python:3.11-slim-bookworm
COPY --from=build /opt/memorysam /opt/memorysam
ENV PATH=/opt/memorysam/bin:$PATH PYTHONUNBUFFERED=1
RUN useradd --create-home --uid 1000 user
USER 1000
WORKDIR /home/user
ENTRYPOINT ["memorysam"]
CMD ["--help"]
