// kafkajs, as its introductions use it. One scenario per process, one JSON line as its result.
//
//     client.js BROKER SCENARIO NAME                      NAME: prefix of the topics and groups to use
//     client.js BROKER member MODE TOPIC GROUP INSTANCE   one member of a group, until its input ends

const { Kafka, CompressionTypes, CompressionCodecs, ConfigResourceTypes, logLevel } = require('kafkajs')
const SnappyCodec = require('kafkajs-snappy')
const { version } = require('kafkajs/package.json')

CompressionCodecs[CompressionTypes.Snappy] = SnappyCodec
process.env.KAFKAJS_NO_PARTITIONER_WARNING = '1'
const WAIT_MS = 30000 // only so that a client which waits for ever fails its scenario

const check = (holds, said) => {
  if (!holds) throw new Error(typeof said === 'string' ? said : JSON.stringify(said))
}
const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))
const kafka = broker => new Kafka({ clientId: 'client', brokers: [broker], logLevel: logLevel.ERROR })
const values = (first, end) => Array.from({ length: end - first }, (_, i) => `v${first + i}`)

const until = async (condition, said) => {
  for (const end = Date.now() + WAIT_MS; !condition(); await sleep(20)) check(Date.now() < end, said())
}

const withProducer = async (broker, use, options = {}) => {
  const producer = kafka(broker).producer(options)
  await producer.connect()
  try {
    return await use(producer)
  } finally {
    await producer.disconnect()
  }
}

const withAdmin = async (broker, use) => {
  const admin = kafka(broker).admin()
  await admin.connect()
  try {
    return await use(admin)
  } finally {
    await admin.disconnect()
  }
}

const send = (broker, topic, all, compression = CompressionTypes.None) =>
  withProducer(broker, producer => producer.send({ topic, messages: all.map(value => ({ value })), compression }))

// The first `count` messages of a group consumer, which then leaves; `started` may do more with it before.
const read = async (broker, topic, count, options = {}, started = async () => {}) => {
  const consumer = kafka(broker).consumer({ groupId: `${topic}-group` })
  const got = []
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await consumer.run({
    ...options,
    eachMessage: async ({ partition, message }) => {
      got.push({ partition, ...message, value: message.value.toString() })
    }
  })
  await started(consumer)
  await until(() => got.length >= count, () => `${got.length} messages of ${count}`)
  if (options.commit) await options.commit(consumer)
  await consumer.disconnect()
  return got
}

// Its way to hear of acknowledgements is the promise that `send` returns.
const tenKeyed = (broker, topic) =>
  withProducer(broker, async producer => {
    const told = []
    for (const i of Array(10).keys()) {
      await producer.send({ topic, messages: [{ key: `key-${i}`, value: `message ${i}` }] }).then(([one]) => told.push(one.baseOffset))
    }
    check(told.join() === '0,1,2,3,4,5,6,7,8,9', told)
  })

const autoCommit = async (broker, topic) => {
  await send(broker, topic, values(0, 10))
  const got = await read(broker, topic, 10)
  check(got.map(one => one.value).join() === values(0, 10).join(), got)
  await send(broker, topic, values(10, 11))
  const [next] = await read(broker, topic, 1)
  check(next.value === 'v10', next)
}

const manualCommit = async (broker, topic) => {
  await send(broker, topic, values(0, 10))
  const commit = consumer => consumer.commitOffsets([{ topic, partition: 0, offset: '5', metadata: 'half' }])
  await read(broker, topic, 10, { autoCommit: false, commit })
  const [next] = await read(broker, topic, 1, { autoCommit: false })
  check(next.value === 'v5', next)
  const [{ partitions }] = await withAdmin(broker, admin => admin.fetchOffsets({ groupId: `${topic}-group`, topics: [topic] }))
  check(partitions[0].offset === '5' && partitions[0].metadata === 'half', partitions)
}

const jsonPartitions = async (broker, topic) => {
  await withAdmin(broker, admin => admin.createTopics({ topics: [{ topic, numPartitions: 4, replicationFactor: 1 }] }))
  const messages = Array.from({ length: 100 }, (_, n) => ({ key: `user-${n % 20}`, value: JSON.stringify({ user: n % 20, number: n }) }))
  await withProducer(broker, producer => producer.send({ topic, messages }))
  const got = (await read(broker, topic, 100)).map(one => ({ partition: one.partition, ...JSON.parse(one.value) }))
  check(new Set(got.map(one => one.number)).size === 100 && got.length === 100, 'every object once')
  check(new Set(got.map(one => one.partition)).size === 4, 'all partitions used')
  for (let user = 0; user < 20; user++) {
    const mine = got.filter(one => one.user === user).map(one => one.number)
    check(mine.every((number, i) => i === 0 || mine[i - 1] < number), mine)
  }
}

const seek = async (broker, topic) => {
  const start = Date.now() - 100000
  const messages = values(0, 10).map((value, i) => ({ value, timestamp: String(start + i * 1000) }))
  await withProducer(broker, producer => producer.send({ topic, messages }))
  const [found] = await withAdmin(broker, admin => admin.fetchTopicOffsetsByTimestamp(topic, start + 4500))
  check(found.offset === '5', found)
  // fromBeginning may win the race against the seek by one batch.
  const got = await read(broker, topic, 5, {}, async consumer => consumer.seek({ topic, partition: 0, offset: found.offset }))
  check(got.slice(-5).map(one => one.value).join() === values(5, 10).join(), got)
}

const headers = async (broker, topic) => {
  const sent = { trace: ['1', '2'], bytes: Buffer.from([0, 255]), empty: '' }
  await withProducer(broker, producer => producer.send({ topic, messages: [{ value: 'value', headers: sent }] }))
  const [{ headers: got }] = await read(broker, topic, 1)
  check(got.trace.map(String).join() === '1,2' && got.bytes.equals(sent.bytes) && got.empty.length === 0, got)
}

const codecs = async (broker, topic) => {
  const all = values(0, 100).map(value => `${value} `.repeat(50))
  for (const codec of [CompressionTypes.None, CompressionTypes.GZIP, CompressionTypes.Snappy]) await send(broker, topic, all, codec)
  const got = await read(broker, topic, 300)
  check(got.map(one => one.value).join() === [...all, ...all, ...all].join(), 'every value in order')
}

const adminCalls = (broker, topic) =>
  withAdmin(broker, async admin => {
    const configEntries = [{ name: 'retention.ms', value: '3600000' }]
    await admin.createTopics({ topics: [{ topic, numPartitions: 2, replicationFactor: 1, configEntries }] })
    const partitions = async () => (await admin.fetchTopicMetadata({ topics: [topic] })).topics[0].partitions.length
    check((await partitions()) === 2, 'two partitions')
    await admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] })
    check((await partitions()) === 3, 'three partitions')
    const resource = { type: ConfigResourceTypes.TOPIC, name: topic }
    await admin.alterConfigs({ resources: [{ ...resource, configEntries: [{ name: 'cleanup.policy', value: 'compact' }] }] })
    const told = await admin.describeConfigs({ resources: [resource], includeSynonyms: false })
    const value = name => told.resources[0].configEntries.find(one => one.configName === name).configValue
    // The old AlterConfigs: what is not named goes back to its default.
    check(value('cleanup.policy') === 'compact' && value('retention.ms') === '604800000', told)
    check((await admin.describeCluster()).brokers.length === 1, 'one broker')
    await admin.deleteTopics({ topics: [topic] })
    check(!(await admin.listTopics()).includes(topic), 'deleted')
  })

const idle = async (broker, topic) => {
  await withProducer(broker, async producer => {
    await producer.send({ topic, messages: [{ value: 'v0' }] })
    await read(broker, topic, 2, {}, async () => {
      await sleep(1000 * Number(process.env.CLIENT_IDLE_S || 5))
      await producer.send({ topic, messages: [{ value: 'v1' }] })
    })
  })
}

const member = async (broker, mode, topic, groupId, instance) => {
  if (['cooperative', 'static', 'consumer'].includes(mode)) {
    console.log(`unsupported kafkajs has no ${mode.replace('consumer', 'KIP-848')} groups`)
    return
  }
  const consumer = kafka(broker).consumer({ groupId, sessionTimeout: 6000, heartbeatInterval: 1000 })
  const say = (word, all) => console.log([word, ...all].join(' '))
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => say('assigned', payload.memberAssignment[topic] || []))
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await consumer.run({ autoCommitInterval: 500, eachMessage: async ({ message }) => console.log(`read ${message.value}`) })
  process.stdin.resume()
  await new Promise(resolve => process.stdin.on('end', resolve))
  await consumer.disconnect()
}

const SCENARIOS = {
  'ten keyed messages with a callback': tenKeyed,
  'group consumer with auto-commit': autoCommit,
  'group consumer with manual commit': manualCommit,
  'four partitions of JSON': jsonPartitions,
  'seek by time': seek,
  headers,
  'all codecs': codecs,
  admin: adminCalls,
  'idle connection': idle
}

const main = async (broker, scenario, ...rest) => {
  if (scenario === 'member') return member(broker, ...rest)
  const line = { client: 'kafkajs', version, scenario, result: 'pass', detail: '' }
  try {
    await SCENARIOS[scenario](broker, ...rest)
  } catch (error) {
    console.error(error)
    Object.assign(line, { result: 'fail', detail: String(error) })
  }
  console.log(JSON.stringify(line))
}

main(...process.argv.slice(2)).then(() => process.exit(0))
