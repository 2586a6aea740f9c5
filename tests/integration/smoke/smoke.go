// kafka-go: produces, reads one partition back, by the old versions of the protocol. Arguments: broker, topic.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/segmentio/kafka-go"
)

const count = 100

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	broker, topic := os.Args[1], os.Args[2]
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Second)
	defer cancel()

	conn, err := kafka.Dial("tcp", broker)
	check(err)
	check(conn.CreateTopics(kafka.TopicConfig{Topic: topic, NumPartitions: 1, ReplicationFactor: 1}))
	partitions, err := conn.ReadPartitions(topic)
	check(err)
	if len(partitions) != 1 {
		check(fmt.Errorf("%d partitions", len(partitions)))
	}

	codecs := []kafka.Compression{0, kafka.Gzip, kafka.Snappy, kafka.Lz4, kafka.Zstd}
	for n, codec := range codecs {
		writer := &kafka.Writer{Addr: kafka.TCP(broker), Topic: topic, RequiredAcks: kafka.RequireAll,
			Compression: codec, BatchTimeout: time.Millisecond}
		messages := make([]kafka.Message, count)
		for i := range messages {
			messages[i] = kafka.Message{Key: []byte("key"), Value: []byte(fmt.Sprintf("value %d", n*count+i)),
				Headers: []kafka.Header{{Key: "h", Value: []byte("1")}}}
		}
		check(writer.WriteMessages(ctx, messages...))
		check(writer.Close())
	}

	reader := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{broker}, Topic: topic, MaxWait: time.Second})
	for i := 0; i < count*len(codecs); i++ {
		message, err := reader.ReadMessage(ctx)
		check(err)
		if string(message.Value) != fmt.Sprintf("value %d", i) || message.Offset != int64(i) ||
			string(message.Key) != "key" || len(message.Headers) != 1 {
			check(fmt.Errorf("record %d is %v", i, message))
		}
	}
	check(reader.Close())
	check(conn.DeleteTopics(topic))
}
