// kafkajs: admin and producer (its consumer needs groups). Arguments: broker, topic.
const { Kafka, CompressionTypes, logLevel } = require('kafkajs')

const check = (holds, said) => {
  if (!holds) throw new Error(said)
}

const main = async (broker, topic) => {
  const kafka = new Kafka({ clientId: 'smoke', brokers: [broker], logLevel: logLevel.ERROR })
  const admin = kafka.admin()
  await admin.connect()
  check(await admin.createTopics({ topics: [{ topic, numPartitions: 2, replicationFactor: 1 }] }), 'not created')
  check((await admin.listTopics()).includes(topic), 'not listed')
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  let offset = 0
  for (const compression of [CompressionTypes.None, CompressionTypes.GZIP]) {
    const messages = Array.from({ length: 100 }, (_, i) => ({ key: 'key', value: `value ${i}`, partition: 1, headers: { h: '1' } }))
    const [answer] = await producer.send({ topic, messages, compression })
    check(answer.errorCode === 0 && Number(answer.baseOffset) === offset, JSON.stringify(answer))
    offset += messages.length
  }
  await producer.disconnect()
  const ends = await admin.fetchTopicOffsets(topic)
  check(ends.some(one => one.partition === 1 && Number(one.high) === offset), JSON.stringify(ends))
  await admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] })
  await admin.deleteTopics({ topics: [topic] })
  await admin.disconnect()
}

main(...process.argv.slice(2)).catch(error => {
  console.error(error)
  process.exit(1)
})
