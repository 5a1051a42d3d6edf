# Images of Gridpact: `ledger` (a member's replica), `vtn` (the aggregator's VTN), `etcd` (a member's server of the order).
#   docker build --target ledger --tag gridpact-ledger:0.1.0 .
# Each runs as a user without rights, keeps nothing outside its volume, and holds no key or password.

FROM python:3.12.11-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/gridpact
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY runtime runtime
COPY contracts contracts
COPY openadr openadr
COPY forecasting forecasting
COPY scheduling scheduling
COPY ledger ledger
COPY vtn vtn
COPY ven ven
COPY migrations migrations
RUN /opt/gridpact/bin/pip install --no-cache-dir --constraint constraints.txt '.[ledger,cluster,vtn]'

FROM python:3.12.11-slim-bookworm AS base
ENV PATH=/opt/gridpact/bin:$PATH PYTHONDONTWRITEBYTECODE=1
COPY --from=build /opt/gridpact /opt/gridpact
RUN useradd --uid 10001 --home-dir /var/lib/gridpact --create-home --shell /usr/sbin/nologin gridpact
WORKDIR /var/lib/gridpact
VOLUME /var/lib/gridpact
USER 10001:10001

FROM base AS vtn
EXPOSE 8450
CMD ["dr-vtn", "serve"]

FROM debian:bookworm-20250630-slim AS etcd
RUN apt-get update \
    && apt-get install --yes --no-install-recommends etcd-server=3.4.23-4+b4 etcd-client=3.4.23-4+b4 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10002 --home-dir /var/lib/gridpact-etcd --create-home --shell /usr/sbin/nologin gridpact-etcd
ENV ETCDCTL_API=3
VOLUME /var/lib/gridpact-etcd
USER 10002:10002
EXPOSE 2379 2380
CMD ["etcd"]

FROM base AS ledger
EXPOSE 8440 8441
CMD ["dr-ledger", "serve"]
