# Keyfob as an image: one binary on a base without a shell, as a user without rights.
#
#   docker build -t keyfob .
#
# The first stage builds on the same Debian release that the second one runs.
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# Dependencies first: they change seldom, and are then taken from the cache.
COPY Cargo.toml Cargo.lock ./
COPY benches benches
RUN mkdir src && echo 'fn main() {}' > src/main.rs && touch src/lib.rs \
    && cargo build --release --locked \
    && rm -rf src
COPY migrations migrations
COPY static static
COPY templates templates
COPY src src
RUN touch src/main.rs src/lib.rs && cargo build --release --locked
# Directories that a new volume takes over with their owner and mode.
RUN install -d -m 0700 /out/data /out/keys

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /src/target/release/keyfob /usr/local/bin/keyfob
COPY --from=build --chown=65532:65532 /out/data /var/lib/keyfob
COPY --from=build --chown=65532:65532 /out/keys /var/lib/keyfob-keys
ENV KEYFOB_DATA_DIR=/var/lib/keyfob \
    KEYFOB_MASTER_KEYS_FILE=/var/lib/keyfob-keys/master.keys \
    KEYFOB_WEB_LISTEN=0.0.0.0:8700 \
    KEYFOB_PROXY_LISTEN=0.0.0.0:8701 \
    KEYFOB_ALLOW_REMOTE=true \
    KEYFOB_LOG_FORMAT=json
# In a container of its own, every address is the only way in: who may reach it is decided by how the ports are published.
# The operators' listener stays on the container's loopback.
EXPOSE 8700 8701
VOLUME ["/var/lib/keyfob", "/var/lib/keyfob-keys"]
USER 65532:65532
WORKDIR /var/lib/keyfob
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["/usr/local/bin/keyfob", "ready"]
ENTRYPOINT ["/usr/local/bin/keyfob"]
CMD ["serve"]
