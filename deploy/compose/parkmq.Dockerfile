# parkmq. Built from the root of the repository: docker build -f deploy/compose/parkmq.Dockerfile .
FROM node:20-bookworm-slim AS build
WORKDIR /opt/parkmq
COPY . .
RUN npm ci --no-audit --no-fund && npm prune --omit=dev --no-audit --no-fund --ignore-scripts

FROM node:20-bookworm-slim
WORKDIR /opt/parkmq
COPY --from=build /opt/parkmq/package.json ./
COPY --from=build /opt/parkmq/bin bin
COPY --from=build /opt/parkmq/dist dist
COPY --from=build /opt/parkmq/node_modules node_modules
RUN install -d -o node -g node -m 700 /var/lib/parkmq /etc/parkmq
USER node
ENV PARKMQ_DATA=/var/lib/parkmq PARKMQ_HOST=0.0.0.0
VOLUME /var/lib/parkmq
EXPOSE 1883 9001
CMD ["node", "bin/parkmq.js", "start"]
