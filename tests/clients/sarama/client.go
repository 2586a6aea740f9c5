// sarama, as its introductions use it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

func config() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.Producer.Return.Successes = true
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	return config
}

func producer(broker string, config *sarama.Config) sarama.SyncProducer {
	return must1(sarama.NewSyncProducer([]string{broker}, config))
}

func send(broker, topic string, config *sarama.Config, values ...string) {
	producer := producer(broker, config)
	var messages []*sarama.ProducerMessage
	for _, value := range values {
		messages = append(messages, &sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder(value)})
	}
	must(producer.SendMessages(messages))
	must(producer.Close())
}

// handler hands every message on and marks those that it is asked to mark.
type handler struct {
	messages chan *sarama.ConsumerMessage
	mark     func(*sarama.ConsumerMessage) bool
	holds    func(partition int32, now bool)
}

func (h *handler) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (h *handler) Cleanup(sarama.ConsumerGroupSession) error { return nil }
func (h *handler) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	h.holds(claim.Partition(), true)
	defer h.holds(claim.Partition(), false)
	for {
		select {
		case message, open := <-claim.Messages():
			if !open {
				return nil
			}
			select {
			case h.messages <- message:
			case <-session.Context().Done():
				return nil
			}
			if h.mark(message) {
				session.MarkOffset(message.Topic, message.Partition, message.Offset+1, "by sarama")
			}
		case <-session.Context().Done():
			return nil
		}
	}
}

// read is a group consumer for `count` messages; it marks those before offset `mark` and leaves in good order.
func read(broker, topic string, config *sarama.Config, count int, mark int64) (messages []*sarama.ConsumerMessage) {
	group := must1(sarama.NewConsumerGroup([]string{broker}, topic+"-group", config))
	all := &handler{messages: make(chan *sarama.ConsumerMessage), holds: func(int32, bool) {},
		mark: func(message *sarama.ConsumerMessage) bool { return message.Offset < mark }}
	limited, cancel := context.WithTimeout(ctx, wait)
	go func() {
		for limited.Err() == nil {
			if err := group.Consume(limited, []string{topic}, all); err != nil && !errors.Is(err, sarama.ErrClosedConsumerGroup) {
				fmt.Fprintln(os.Stderr, err)
			}
		}
	}()
	for len(messages) < count {
		select {
		case message := <-all.messages:
			messages = append(messages, message)
		case <-limited.Done():
			panic(fmt.Sprint(len(messages), " messages of ", count))
		}
	}
	time.Sleep(100 * time.Millisecond) // the last message is marked after it was handed on
	cancel()
	must(group.Close())
	return messages
}

const all = int64(1) << 40

func values(first, end int) (all []string) {
	for n := first; n < end; n++ {
		all = append(all, value(n))
	}
	return all
}

func ten(broker, name string) {
	producer := must1(sarama.NewAsyncProducer([]string{broker}, config()))
	for i := range 10 {
		producer.Input() <- &sarama.ProducerMessage{Topic: name, Key: sarama.StringEncoder(fmt.Sprint("key-", i)), Value: sarama.StringEncoder(fmt.Sprint("message ", i))}
	}
	for i := range 10 {
		select {
		case message := <-producer.Successes():
			check(message.Offset == int64(i), message.Offset)
		case err := <-producer.Errors():
			panic(err)
		}
	}
	must(producer.Close())
}

func autoCommit(broker, name string) {
	send(broker, name, config(), values(0, 10)...)
	for i, message := range read(broker, name, config(), 10, all) {
		check(string(message.Value) == value(i), message)
	}
	send(broker, name, config(), values(10, 11)...)
	check(string(read(broker, name, config(), 1, all)[0].Value) == value(10), "goes on after the ten")
}

func manualCommit(broker, name string) {
	send(broker, name, config(), values(0, 10)...)
	manual := config()
	manual.Consumer.Offsets.AutoCommit.Enable = false
	group := must1(sarama.NewConsumerGroup([]string{broker}, name+"-group", manual))
	limited, cancel := context.WithTimeout(ctx, wait)
	must(group.Consume(limited, []string{name}, &fiveOfTen{cancel: cancel}))
	must(group.Close())
	check(string(read(broker, name, manual, 1, 0)[0].Value) == value(5), "goes on after the committed five")
}

// fiveOfTen reads ten messages and commits the first five.
type fiveOfTen struct{ cancel func() }

func (*fiveOfTen) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (*fiveOfTen) Cleanup(sarama.ConsumerGroupSession) error { return nil }
func (five *fiveOfTen) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for message := range claim.Messages() {
		if message.Offset < 5 {
			session.MarkMessage(message, "half")
		}
		if message.Offset == 9 {
			session.Commit()
			five.cancel()
		}
	}
	return nil
}

func jsonPartitions(broker, name string) {
	admin := must1(sarama.NewClusterAdmin([]string{broker}, config()))
	must(admin.CreateTopic(name, &sarama.TopicDetail{NumPartitions: 4, ReplicationFactor: 1}, false))
	must(admin.Close())
	producer := producer(broker, config())
	keys, contents := objects()
	for i := range keys {
		message := &sarama.ProducerMessage{Topic: name, Key: sarama.StringEncoder(keys[i]), Value: sarama.ByteEncoder(contents[i])}
		_, _, err := producer.SendMessage(message)
		must(err)
	}
	must(producer.Close())
	var partitions []int
	contents = nil
	for _, message := range read(broker, name, config(), 100, all) {
		partitions = append(partitions, int(message.Partition))
		contents = append(contents, message.Value)
	}
	checkObjects(partitions, contents)
}

func seek(broker, name string) {
	start := time.Now().Add(-100 * time.Second).Truncate(time.Millisecond)
	producer := producer(broker, config())
	for i := range 10 {
		message := &sarama.ProducerMessage{Topic: name, Value: sarama.StringEncoder(value(i)), Timestamp: start.Add(time.Duration(i) * time.Second)}
		_, _, err := producer.SendMessage(message)
		must(err)
	}
	must(producer.Close())
	client := must1(sarama.NewClient([]string{broker}, config()))
	defer client.Close()
	offset := must1(client.GetOffset(name, 0, start.Add(4500*time.Millisecond).UnixMilli()))
	check(offset == 5, offset)
	consumer := must1(sarama.NewConsumerFromClient(client))
	partition := must1(consumer.ConsumePartition(name, 0, offset))
	message := <-partition.Messages()
	check(string(message.Value) == value(5) && message.Timestamp.Equal(start.Add(5*time.Second)), message)
	must(partition.Close())
}

func headers(broker, name string) {
	sent := []sarama.RecordHeader{{Key: []byte("trace"), Value: []byte("1")}, {Key: []byte("trace"), Value: []byte("2")}, {Key: []byte("bytes"), Value: []byte{0, 255}}}
	producer := producer(broker, config())
	_, _, err := producer.SendMessage(&sarama.ProducerMessage{Topic: name, Value: sarama.StringEncoder("value"), Headers: sent})
	must(err)
	must(producer.Close())
	got := read(broker, name, config(), 1, all)[0].Headers
	check(len(got) == len(sent), got)
	for i := range sent {
		check(string(got[i].Key) == string(sent[i].Key) && string(got[i].Value) == string(sent[i].Value), got[i])
	}
}

func codecs(broker, name string) {
	for _, codec := range []sarama.CompressionCodec{sarama.CompressionNone, sarama.CompressionGZIP, sarama.CompressionSnappy, sarama.CompressionLZ4, sarama.CompressionZSTD} {
		compressed := config()
		compressed.Producer.Compression = codec
		send(broker, name, compressed, codecValues...)
	}
	for i, message := range read(broker, name, config(), 500, all) {
		check(string(message.Value) == codecValues[i%100], i)
	}
}

func admin(broker, name string) {
	admin := must1(sarama.NewClusterAdmin([]string{broker}, config()))
	defer admin.Close()
	hour, compact := "3600000", "compact"
	must(admin.CreateTopic(name, &sarama.TopicDetail{NumPartitions: 2, ReplicationFactor: 1, ConfigEntries: map[string]*string{"retention.ms": &hour}}, false))
	check(len(must1(admin.DescribeTopics([]string{name}))[0].Partitions) == 2, "two partitions")
	must(admin.CreatePartitions(name, 3, nil, false))
	check(must1(admin.ListTopics())[name].NumPartitions == 3, "three partitions")
	change := map[string]sarama.IncrementalAlterConfigsEntry{"cleanup.policy": {Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &compact}}
	must(admin.IncrementalAlterConfig(sarama.TopicResource, name, change, false))
	told := map[string]string{}
	for _, one := range must1(admin.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: name})) {
		told[one.Name] = one.Value
	}
	check(told["cleanup.policy"] == compact && told["retention.ms"] == hour, told)
	brokers, _, err := admin.DescribeCluster()
	must(err)
	check(len(brokers) == 1, "one broker")
	must(admin.DeleteTopic(name))
	_, there := must1(admin.ListTopics())[name]
	check(!there, "deleted")
}

func idle(broker, name string) {
	producer := producer(broker, config())
	defer producer.Close()
	for i := range 2 {
		_, _, err := producer.SendMessage(&sarama.ProducerMessage{Topic: name, Value: sarama.StringEncoder(value(i))})
		must(err)
		if i == 0 {
			time.Sleep(idleTime())
		}
	}
	for i, message := range read(broker, name, config(), 2, all) {
		check(string(message.Value) == value(i), message)
	}
}

func member(broker, mode, topic, group, instance string) {
	if mode == "consumer" {
		unsupported("sarama has no KIP-848 consumer")
	}
	config := config()
	config.Consumer.Group.Session.Timeout = 6 * time.Second
	config.Consumer.Group.Heartbeat.Interval = time.Second
	config.Consumer.Group.InstanceId = instance
	if mode == "cooperative" {
		config.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{sarama.NewBalanceStrategyCooperativeSticky()}
	}
	config.Consumer.Offsets.AutoCommit.Interval = 500 * time.Millisecond
	var output sync.Mutex
	one := &handler{messages: make(chan *sarama.ConsumerMessage), mark: func(*sarama.ConsumerMessage) bool { return true }}
	held := map[int32]bool{}
	one.holds = func(partition int32, now bool) {
		output.Lock()
		defer output.Unlock()
		if now {
			held[partition] = true
		} else {
			delete(held, partition)
			revoked([]int{int(partition)})
		}
		var all []int
		for partition := range held {
			all = append(all, int(partition))
		}
		assigned(all)
	}
	members := must1(sarama.NewConsumerGroup([]string{broker}, group, config))
	go func() {
		for message := range one.messages {
			output.Lock()
			fmt.Println("read", string(message.Value))
			output.Unlock()
		}
	}()
	until := untilInputEnds()
	for until.Err() == nil {
		must(members.Consume(until, []string{topic}, one))
	}
	must(members.Close())
	os.Exit(0)
}

func main() {
	run("sarama", "github.com/IBM/sarama", map[string]func(string, string){
		"ten keyed messages with a callback": ten,
		"group consumer with auto-commit":    autoCommit,
		"group consumer with manual commit":  manualCommit,
		"four partitions of JSON":            jsonPartitions,
		"seek by time":                       seek,
		"headers":                            headers,
		"all codecs":                         codecs,
		"admin":                              admin,
		"idle connection":                    idle,
	}, member)
}
