# convscope on a CPU, for servers and scheduled jobs: docs/server.md shows how to build and run it.
FROM python:3.12-slim

# The CPU's wheels: those of PyPI bring several GB of CUDA along.
RUN pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu torch torchvision

WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip install --no-cache-dir . && rm -rf /src

# Nobody's root: what it writes into a mounted folder belongs to this user, or to the one of `docker run --user`.
RUN useradd --create-home --uid 1000 convscope && mkdir /work && chown convscope /work
USER convscope
# Also for another --user, who has no home: caches go where everybody may write.
ENV HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib
WORKDIR /work
ENTRYPOINT ["convscope"]
CMD ["--help"]
