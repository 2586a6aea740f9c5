// segmentio/kafka-go, as its introductions use it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
)

func writer(broker, topic string) *kafka.Writer {
	return &kafka.Writer{Addr: kafka.TCP(broker), Topic: topic, RequiredAcks: kafka.RequireAll, AllowAutoTopicCreation: true,
		Balancer: &kafka.Hash{}, BatchTimeout: 10 * time.Millisecond}
}

func reader(broker, topic string) *kafka.Reader {
	return kafka.NewReader(kafka.ReaderConfig{Brokers: []string{broker}, Topic: topic, GroupID: topic + "-group",
		StartOffset: kafka.FirstOffset, MaxWait: 500 * time.Millisecond})
}

// write retries while a topic that was created by the first attempt has no leader yet, as the introduction does.
func write(writer *kafka.Writer, messages ...kafka.Message) {
	for range 10 {
		err := writer.WriteMessages(ctx, messages...)
		var failures kafka.WriteErrors
		if errors.As(err, &failures) {
			err = failures[0]
		}
		if !errors.Is(err, kafka.UnknownTopicOrPartition) && !errors.Is(err, kafka.LeaderNotAvailable) {
			must(err)
			return
		}
		time.Sleep(250 * time.Millisecond)
	}
	panic("the topic was never created")
}

func send(broker, topic string, first, end int) {
	writer := writer(broker, topic)
	var messages []kafka.Message
	for n := first; n < end; n++ {
		messages = append(messages, kafka.Message{Value: []byte(value(n))})
	}
	write(writer, messages...)
	must(writer.Close())
}

func take(reader *kafka.Reader, count int) (messages []kafka.Message) {
	limited, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for range count {
		messages = append(messages, must1(reader.ReadMessage(limited)))
	}
	return messages
}

func ten(broker, name string) {
	writer := writer(broker, name)
	completed := make(chan []kafka.Message, 10)
	writer.Completion = func(messages []kafka.Message, err error) {
		if err == nil {
			completed <- messages
		}
	}
	var messages []kafka.Message
	for i := range 10 {
		messages = append(messages, kafka.Message{Key: fmt.Appendf(nil, "key-%d", i), Value: fmt.Appendf(nil, "message %d", i)})
	}
	write(writer, messages...)
	must(writer.Close())
	close(completed)
	count := 0
	for messages := range completed {
		for _, one := range messages {
			check(one.Offset == int64(count), one)
			count++
		}
	}
	check(count == 10, count)
}

func autoCommit(broker, name string) {
	send(broker, name, 0, 10)
	first := reader(broker, name)
	for i, message := range take(first, 10) {
		check(string(message.Value) == value(i), message)
	}
	must(first.Close())
	send(broker, name, 10, 11)
	second := reader(broker, name)
	check(string(take(second, 1)[0].Value) == value(10), "goes on after the ten")
	must(second.Close())
}

func manualCommit(broker, name string) {
	send(broker, name, 0, 10)
	first := reader(broker, name)
	var messages []kafka.Message
	for range 10 {
		messages = append(messages, must1(first.FetchMessage(ctx)))
	}
	must(first.CommitMessages(ctx, messages[:5]...))
	must(first.Close())
	second := reader(broker, name)
	check(string(must1(second.FetchMessage(ctx)).Value) == value(5), "goes on after the committed five")
	must(second.Close())
}

func create(broker string, topic kafka.TopicConfig) *kafka.Conn {
	conn := must1(kafka.Dial("tcp", broker))
	must(conn.CreateTopics(topic))
	return conn
}

func jsonPartitions(broker, name string) {
	must(create(broker, kafka.TopicConfig{Topic: name, NumPartitions: 4, ReplicationFactor: 1}).Close())
	writer, reader := writer(broker, name), reader(broker, name)
	var messages []kafka.Message
	keys, contents := objects()
	for i := range keys {
		messages = append(messages, kafka.Message{Key: []byte(keys[i]), Value: contents[i]})
	}
	write(writer, messages...)
	must(writer.Close())
	var partitions []int
	contents = nil
	for _, message := range take(reader, 100) {
		partitions = append(partitions, message.Partition)
		contents = append(contents, message.Value)
	}
	checkObjects(partitions, contents)
	must(reader.Close())
}

func seek(broker, name string) {
	start := time.Now().Add(-100 * time.Second).Truncate(time.Millisecond)
	writer := writer(broker, name)
	for i := range 10 {
		write(writer, kafka.Message{Value: []byte(value(i)), Time: start.Add(time.Duration(i) * time.Second)})
	}
	must(writer.Close())
	reader := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{broker}, Topic: name, MaxWait: 500 * time.Millisecond})
	must(reader.SetOffsetAt(ctx, start.Add(4500*time.Millisecond)))
	found := take(reader, 1)[0]
	check(string(found.Value) == value(5) && found.Offset == 5 && found.Time.Equal(start.Add(5*time.Second)), found)
	must(reader.Close())
}

func headers(broker, name string) {
	sent := []kafka.Header{{Key: "trace", Value: []byte("1")}, {Key: "trace", Value: []byte("2")}, {Key: "bytes", Value: []byte{0, 255}}}
	writer, reader := writer(broker, name), reader(broker, name)
	write(writer, kafka.Message{Value: []byte("value"), Headers: sent})
	must(writer.Close())
	got := take(reader, 1)[0].Headers
	check(reflect.DeepEqual(got, sent), got)
	must(reader.Close())
}

func codecs(broker, name string) {
	for _, codec := range []kafka.Compression{0, kafka.Gzip, kafka.Snappy, kafka.Lz4, kafka.Zstd} {
		writer := writer(broker, name)
		writer.Compression = codec
		var messages []kafka.Message
		for _, value := range codecValues {
			messages = append(messages, kafka.Message{Value: []byte(value)})
		}
		write(writer, messages...)
		must(writer.Close())
	}
	reader := reader(broker, name)
	for i, message := range take(reader, 500) {
		check(string(message.Value) == codecValues[i%100], i)
	}
	must(reader.Close())
}

func admin(broker, name string) {
	config := []kafka.ConfigEntry{{ConfigName: "retention.ms", ConfigValue: "3600000"}}
	conn := create(broker, kafka.TopicConfig{Topic: name, NumPartitions: 2, ReplicationFactor: 1, ConfigEntries: config})
	defer conn.Close()
	check(len(must1(conn.ReadPartitions(name))) == 2, "two partitions")
	check(len(must1(conn.Brokers())) == 1, "one broker")
	client := &kafka.Client{Addr: kafka.TCP(broker)}
	more := &kafka.CreatePartitionsRequest{Topics: []kafka.TopicPartitionsConfig{{Name: name, Count: 3}}}
	must(must1(client.CreatePartitions(ctx, more)).Errors[name])
	check(len(must1(conn.ReadPartitions(name))) == 3, "three partitions")
	compact := []kafka.IncrementalAlterConfigsRequestConfig{{Name: "cleanup.policy", Value: "compact", ConfigOperation: kafka.ConfigOperationSet}}
	change := []kafka.IncrementalAlterConfigsRequestResource{{ResourceType: kafka.ResourceTypeTopic, ResourceName: name, Configs: compact}}
	must(must1(client.IncrementalAlterConfigs(ctx, &kafka.IncrementalAlterConfigsRequest{Resources: change})).Resources[0].Error)
	asked := []kafka.DescribeConfigRequestResource{{ResourceType: kafka.ResourceTypeTopic, ResourceName: name}}
	told := map[string]string{}
	for _, one := range must1(client.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{Resources: asked})).Resources[0].ConfigEntries {
		told[one.ConfigName] = one.ConfigValue
	}
	check(told["cleanup.policy"] == "compact" && told["retention.ms"] == "3600000", told)
	must(conn.DeleteTopics(name))
	for _, one := range must1(conn.ReadPartitions()) {
		check(one.Topic != name, "deleted")
	}
}

func idle(broker, name string) {
	writer, reader := writer(broker, name), reader(broker, name)
	for i := range 2 {
		write(writer, kafka.Message{Value: []byte(value(i))})
		check(string(take(reader, 1)[0].Value) == value(i), value(i))
		if i == 0 {
			time.Sleep(idleTime())
		}
	}
	must(writer.Close())
	must(reader.Close())
}

// generation reads the partitions of one generation of the group until the next one begins.
func generation(broker, topic string, now *kafka.Generation) {
	var partitions []int
	var output sync.Mutex
	for _, one := range now.Assignments[topic] {
		partitions = append(partitions, one.ID)
		now.Start(func(ctx context.Context) {
			reader := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{broker}, Topic: topic, Partition: one.ID, MaxWait: 500 * time.Millisecond})
			defer reader.Close()
			must(reader.SetOffset(one.Offset))
			for {
				message, err := reader.ReadMessage(ctx)
				if err != nil {
					return
				}
				output.Lock()
				fmt.Println("read", string(message.Value))
				output.Unlock()
				_ = now.CommitOffsets(map[string]map[int]int64{topic: {one.ID: message.Offset + 1}}) // refused while rebalancing
			}
		})
	}
	output.Lock()
	assigned(partitions)
	output.Unlock()
}

func member(broker, mode, topic, group, instance string) {
	if mode == "cooperative" || mode == "static" || mode == "consumer" {
		unsupported("kafka-go has no " + strings.Replace(mode, "consumer", "KIP-848", 1) + " groups")
	}
	members := must1(kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{ID: group, Brokers: []string{broker}, Topics: []string{topic},
		StartOffset: kafka.FirstOffset, SessionTimeout: 6 * time.Second, HeartbeatInterval: time.Second}))
	until := untilInputEnds()
	for {
		now, err := members.Next(until)
		if until.Err() != nil {
			break
		}
		must(err)
		generation(broker, topic, now)
	}
	must(members.Close())
	os.Exit(0)
}

func main() {
	run("kafka-go", "github.com/segmentio/kafka-go", map[string]func(string, string){
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
