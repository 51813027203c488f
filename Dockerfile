# One image with the programs, and storectl for whoever operates them. The command says which:
# epufs-reader, epufs-writer, epufs-janitor, epufs-compute. Options come from the environment (EPUFS_*)
# or the command line; see docs/config.md.
ARG DEBIAN=debian:12.11-slim

FROM ${DEBIAN} AS build
WORKDIR /src
COPY deploy/install-deps deploy/
RUN deploy/install-deps build && rm -rf /var/lib/apt/lists/*
COPY . .
RUN make -j"$(nproc)" programs && strip build/bin/*

FROM ${DEBIAN}
# ca-certificates brings the openssl program, which deploy/compose/keys needs.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libisal2 libcurl4 libexpat1 \
        libhiredis0.14 libjansson4 librdkafka1 libssl3 libzstd1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin epufs \
    && install -d -o epufs -g epufs /keys/private /keys/public
COPY --from=build /src/build/bin/epufs-reader /src/build/bin/epufs-writer \
    /src/build/bin/epufs-janitor /src/build/bin/epufs-compute /src/build/bin/storectl /usr/local/bin/
COPY deploy/healthcheck /usr/local/bin/epufs-healthcheck
COPY deploy/compose/keys /usr/local/bin/epufs-keys
COPY LICENSE /usr/share/doc/epufs/
USER epufs
ENV EPUFS_LISTEN=0.0.0.0:8080 EPUFS_LOG_FORMAT=json
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=5s --start-period=10s CMD ["epufs-healthcheck"]
CMD ["epufs-reader"]
