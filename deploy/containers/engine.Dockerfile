# An engine's own image, with our supervisor in an environment of its own beside it.
#
#   docker build -f deploy/containers/engine.Dockerfile --build-arg ENGINE_IMAGE=vllm/vllm-openai:TAG -t alphastral-engine .
#
# ENGINE_IMAGE   has the engine, and some Python from 3.11 on
#
# Behind a private CA or package index, as files that stay in no layer:
#   --secret id=ca,src=… --secret id=pip_conf,src=…
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
ARG ENGINE_IMAGE=ghcr.io/huggingface/text-generation-inference:3.3.7

# Engines' images have no pip, or one that is patched to install elsewhere.
FROM ${PYTHON_IMAGE} AS pip
RUN mkdir /pip && cp -r "$(python -c 'import pip; print(*pip.__path__)')" /pip/

FROM ${ENGINE_IMAGE}
USER root
COPY --chmod=755 deploy/containers/with-secrets /usr/local/bin/
COPY requirements/supervisor.txt /opt/requirements/
RUN --mount=type=secret,id=ca --mount=type=secret,id=pip_conf --mount=type=bind,from=pip,source=/pip,target=/opt/pip \
    for python in python3.13 python3.12 python3.11 python3 /usr/src/.venv/bin/python; do \
      "${python}" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; \
    done \
 && "${python}" -m venv --without-pip /opt/supervisor \
 && with-secrets env PYTHONPATH=/opt/pip /opt/supervisor/bin/python -m pip install --quiet --no-cache-dir --no-deps \
      --require-hashes -r /opt/requirements/supervisor.txt \
 # By a file in its own environment and no variable: the engine is not to see what is the supervisor's.
 && echo /opt/alphastral > "$(/opt/supervisor/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/alphastral.pth"
COPY shared /opt/alphastral/shared
COPY services/__init__.py /opt/alphastral/services/
COPY services/inference /opt/alphastral/services/inference
# Volumes take over who may write into these folders.
RUN install -d -o 10001 -g 10001 /store /store/models /hub /scratch
USER 10001:10001
ENTRYPOINT []
CMD ["/opt/supervisor/bin/python", "-m", "services.inference.supervisor", "--help"]
