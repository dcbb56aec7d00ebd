# PostgreSQL with Patroni, and etcd. Built from the root of the repository: docker build -f deploy/compose/database.Dockerfile .
FROM debian:bookworm-slim
RUN printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d \
  && mkdir -p /etc/postgresql-common && echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf \
  && apt-get update && apt-get install -y --no-install-recommends postgresql patroni etcd-server && rm -rf /var/lib/apt/lists/*
COPY deploy/machine/patroni.yml /etc/patroni/config.yml
# The machines' network is that of the containers.
RUN sed -i 's#10.0.0.0/24#all#' /etc/patroni/config.yml \
  && install -d -o postgres -g postgres -m 2775 /var/run/postgresql && install -d -o postgres -g postgres -m 750 /var/lib/postgresql \
  && install -d -o etcd -g etcd -m 700 /var/lib/etcd
CMD ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "env", "HOME=/var/lib/postgresql", "patroni", "/etc/patroni/config.yml"]
