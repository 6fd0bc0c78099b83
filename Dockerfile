# The image runs node itself, not npm, so that SIGTERM and exit codes pass.
#   docker build -t clerk-sync . && docker run --rm --env-file .env clerk-sync sync

FROM node:26-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci
COPY tsconfig.json tsconfig.build.json ./
COPY src ./src
RUN npm run build

FROM node:26-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=dev

FROM node:26-slim
ENV NODE_ENV=production HOST=0.0.0.0
WORKDIR /app
COPY package.json LICENSE ./
COPY drizzle ./drizzle
COPY --from=dependencies /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
# By number, which `runAsNonRoot` of Kubernetes can check; it is the image's user `node`.
USER 1000:1000
ENTRYPOINT ["node", "dist/main.js"]
CMD ["sync"]
