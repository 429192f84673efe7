# Three stages: the web demo, the server that embeds it, and an image with nothing but the server.

FROM node:22-bookworm-slim AS demo
WORKDIR /build/web-demo
COPY web-demo/package.json web-demo/package-lock.json web-demo/.npmrc* ./
RUN npm ci --no-audit --no-fund
COPY web-demo/ ./
# The demo shows the docs.
COPY docs/*.md ../docs/
RUN npm run build

FROM rust:1.95-slim-bookworm AS server
# jemalloc is built with it.
RUN apt-get update && apt-get install --yes --no-install-recommends make && rm -rf /var/lib/apt/lists/*
WORKDIR /build
# The dependencies first, with an empty crate in place of ours: they are built again only when the
# lock file changes.
COPY Cargo.toml Cargo.lock ./
# Members of the workspace: cargo wants to see them, nothing of them is built.
COPY bench ./bench
COPY benches ./benches
RUN mkdir src && touch src/lib.rs && echo 'fn main() {}' > src/main.rs \
    && cargo build --release --locked \
    && rm -r src target/release/cowrite target/release/.fingerprint/cowrite-* target/release/deps/*cowrite*
COPY src ./src
COPY --from=demo /build/web-demo/dist ./web-demo/dist
RUN cargo build --release --locked

FROM debian:bookworm-slim
# Whom to believe when the issuer's keys are fetched (COWRITE_JWKS), and as a database (sslmode=verify-full).
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
RUN groupadd --system --gid 10001 cowrite \
    && useradd --system --uid 10001 --gid cowrite --home-dir /nonexistent --shell /usr/sbin/nologin cowrite \
    && install --directory --owner=cowrite --group=cowrite /data /backup
COPY --from=server /build/target/release/cowrite /usr/local/bin/cowrite
COPY scripts/container-entrypoint /usr/local/bin/container-entrypoint

ENV COWRITE_LISTEN=0.0.0.0:8080 COWRITE_DATA=/data
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s \
    CMD ["bash", "-c", "at=${COWRITE_ADMIN_LISTEN:-127.0.0.1:8080}; exec 3<>/dev/tcp/${at%:*}/${at##*:} && printf 'GET /readyz HTTP/1.0\\r\\n\\r\\n' >&3 && read -r _ code _ <&3 && [ \"$code\" = 200 ]"]

# Starts as root only to hand a new volume to the user `cowrite`, which the server then runs as.
ENTRYPOINT ["container-entrypoint"]
CMD ["serve"]
