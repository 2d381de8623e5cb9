# The server of expressions (docs/server.md), for amd64 and arm64:
#   docker build --tag fer_keras .
#   docker run --rm --read-only --tmpfs /tmp --publish 127.0.0.1:8000:8000 \
#     --env FER_KERAS_TOKEN fer_keras
FROM python:3.11-slim-bookworm AS build
WORKDIR /build
COPY pyproject.toml setup.py constraints.txt README.md LICENSE ./
COPY fer_keras fer_keras
COPY experiments experiments
COPY saved_models saved_models
# Without a screen OpenCV's build without windows does; it needs no libraries of the system. All
# packages have wheels for both processors, so there is no compiler.
RUN python -m venv /opt/fer_keras \
    && /opt/fer_keras/bin/pip install --no-cache-dir --only-binary :all: --no-binary fer_keras \
        --constraint constraints.txt '.[serve,mqtt]' \
    && opencv="$(sed -n 's/^opencv-python==//p' constraints.txt)" \
    && /opt/fer_keras/bin/pip uninstall --yes opencv-python \
    && /opt/fer_keras/bin/pip install --no-cache-dir --only-binary :all: \
        --constraint constraints.txt "opencv-python-headless==$opencv"

FROM python:3.11-slim-bookworm
COPY --from=build /opt/fer_keras /opt/fer_keras
ENV PATH=/opt/fer_keras/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 CMD ["python", "-c", \
    "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["python", "-m"]
CMD ["fer_keras.serve", "--host", "0.0.0.0"]
