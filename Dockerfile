# Train and evaluate in a container.
#
#   docker build -t rlfat .                                                        # on the CPU
#   docker build -t rlfat --build-arg TENSORFLOW='tensorflow[and-cuda]' .          # on NVIDIA GPUs
#   docker run --rm [--gpus all] -v "$PWD:/work" rlfat rlfat-train --dataset=digits --method=rlfat_p
#   docker run --rm [--gpus all] -v "$PWD:/work" rlfat rlfat-eval --workdir=runs/digits_rlfat_p
#
# BASE may be any image with Python 3.10 to 3.13 and pip, also one that brings CUDA.
ARG BASE=python:3.12-slim
FROM ${BASE}

ARG TENSORFLOW=tensorflow
COPY setup.py setup.cfg pyproject.toml README.md LICENSE rlfat_console.py /src/
COPY flags /src/flags
COPY rlfat_tf /src/rlfat_tf
RUN pip install --no-cache-dir "${TENSORFLOW}" /src && rm -rf /src

# Runs are written below the folder that is mounted here.
WORKDIR /work
CMD ["rlfat-train", "--help"]
