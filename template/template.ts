// Builds a variant of variants.json as an E2B template: `node template/template.ts general [NAME]`.
//
// template.py says the same in Python; `template/check` fails when the two do not ask for the same.

import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { defaultBuildLogger, Template, type TemplateBuilder } from 'e2b'

type Variant = {
  over?: string
  image: string
  template?: string
  cpu: number
  memory: number
  apt: string[]
  npm: string[]
  run: string[]
}
type Pin = { package: string; version: string; install?: string }

const here = dirname(fileURLToPath(import.meta.url))
const root = dirname(here)
const variants: Record<string, Partial<Variant>> = JSON.parse(readFileSync(join(here, 'variants.json'), 'utf8'))
const versions: Record<string, Pin> = JSON.parse(readFileSync(join(here, 'versions.json'), 'utf8'))
const registry = 'https://registry.npmjs.org'
const binary = 'target/x86_64-unknown-linux-gnu/dist/promptd'

/** A variant over the one below it: lists grow, everything else is replaced. */
function variant(name: string): Variant {
  const top = variants[name]
  if (!top) fail(`there is no variant "${name}"; there are ${Object.keys(variants).join(', ')}`)
  const whole: Record<string, unknown> = top.over ? variant(top.over) : {}
  for (const [key, value] of Object.entries(top)) {
    whole[key] = Array.isArray(value) ? [...((whole[key] as string[] | undefined) ?? []), ...value] : value
  }
  return whole as Variant
}

/** What is run as root before promptd comes in. */
function* commands(of: Variant): Generator<string> {
  yield 'apt-get update' +
    ` && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ${[...of.apt].sort().join(' ')}` +
    ' && rm -rf /var/lib/apt/lists/*'
  // The user that the server and its agents run as.
  yield 'id user || useradd --create-home --shell /bin/bash user'
  yield 'install -d -o user -g user /home/user/workspace'
  if (of.npm.length > 0) {
    // Node, from the registry that the agents come from.
    const modules = '/usr/local/lib/node_modules'
    yield `curl -fsSL ${tarball(pin('node'))} | tar -xz -C /usr/local --strip-components=1 package/bin/node` +
      ` && mkdir -p ${modules}/npm` +
      ` && curl -fsSL ${tarball(pin('npm'))} | tar -xz -C ${modules}/npm --strip-components=1` +
      ` && ln -sf ${modules}/npm/bin/npm-cli.js /usr/local/bin/npm` +
      ` && ln -sf ${modules}/npm/bin/npx-cli.js /usr/local/bin/npx`
    // No package script runs but those that put a native binary in its place.
    const pins = [...of.npm].sort().map(pin)
    const packages = pins.map((pin) => `${pin.package}@${pin.version}`).join(' ')
    const finish = pins
      .filter((pin) => pin.install)
      .map((pin) => ` && node /opt/agents/lib/node_modules/${pin.package}/${pin.install}`)
      .join('')
    yield '/usr/local/bin/npm install --global --prefix /opt/agents --ignore-scripts --no-audit --no-fund ' +
      `${packages}${finish} && ln -s /opt/agents/bin/* /usr/bin/`
  }
  yield* of.run
}

function pin(name: string): Pin {
  return versions[name] ?? fail(`versions.json says nothing about ${name}`)
}

function tarball(pin: Pin): string {
  return `${registry}/${pin.package}/-/${pin.package.split('/').at(-1)}-${pin.version}.tgz`
}

function template(of: Variant) {
  const empty = Template({ fileContextPath: root })
  let builder: TemplateBuilder = of.template ? empty.fromTemplate(of.template) : empty.fromImage(of.image)
  builder = builder.setUser('root').setWorkdir('/')
  for (const command of commands(of)) builder = builder.runCmd(command)
  return (
    builder
      // Outside /usr/local, which the platform makes writable for everybody.
      .copy('template/image', '/opt/promptd/', { user: 'root' })
      .copy(binary, '/opt/promptd/promptd', { user: 'root', mode: 0o755 })
      .runCmd(
        'mkdir -p /etc/systemd/system/multi-user.target.wants' +
          ' && ln -sf /opt/promptd/promptd.service /etc/systemd/system/promptd.service' +
          ' && ln -sf ../promptd.service /etc/systemd/system/multi-user.target.wants/promptd.service' +
          ' && ln -sf /opt/promptd/promptd /usr/bin/promptd',
      )
      .setUser('user')
      .setWorkdir('/home/user')
      .setStartCmd('/opt/promptd/start', '/opt/promptd/ready')
  )
}

function fail(why: string): never {
  console.error(why)
  process.exit(1)
}

const [chosen, name = `promptd-${chosen}`, ...more] = process.argv.slice(2)
if (!chosen || more.length > 0) {
  fail(`usage: template.ts VARIANT [NAME]\nvariants: ${Object.keys(variants).join(', ')}`)
}
if (!existsSync(join(root, binary))) fail(`${binary} is missing; \`cargo build --profile dist\` makes it`)
const of = variant(chosen)
const built = await Template.build(template(of), name, {
  cpuCount: of.cpu,
  memoryMB: of.memory,
  onBuildLogs: defaultBuildLogger(),
})
console.log(`${name}: template ${built.templateId}, build ${built.buildId}`)
