// franz-go, as its introductions use it.
package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func client(broker string, options ...kgo.Opt) *kgo.Client {
	common := []kgo.Opt{kgo.SeedBrokers(broker), kgo.AllowAutoTopicCreation(), kgo.UnknownTopicRetries(20)}
	return must1(kgo.NewClient(append(common, options...)...))
}

func consumer(broker, topic string, options ...kgo.Opt) *kgo.Client {
	common := []kgo.Opt{kgo.ConsumeTopics(topic), kgo.ConsumerGroup(topic + "-group"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())}
	return client(broker, append(common, options...)...)
}

func send(broker, topic string, values []string, options ...kgo.Opt) {
	producer := client(broker, append(options, kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	defer producer.Close()
	var records []*kgo.Record
	for _, value := range values {
		records = append(records, &kgo.Record{Topic: topic, Value: []byte(value)})
	}
	must(producer.ProduceSync(ctx, records...).FirstErr())
}

func take(consumer *kgo.Client, count int) []*kgo.Record {
	limited, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	var records []*kgo.Record
	for len(records) < count {
		fetches := consumer.PollRecords(limited, count-len(records))
		must(fetches.Err())
		records = append(records, fetches.Records()...)
	}
	return records
}

func values(first, end int) (all []string) {
	for n := first; n < end; n++ {
		all = append(all, value(n))
	}
	return all
}

func ten(broker, name string) {
	producer := client(broker)
	defer producer.Close()
	var done sync.WaitGroup
	for i := range 10 {
		done.Add(1)
		record := &kgo.Record{Topic: name, Key: fmt.Appendf(nil, "key-%d", i), Value: fmt.Appendf(nil, "message %d", i)}
		producer.Produce(ctx, record, func(record *kgo.Record, err error) {
			defer done.Done()
			must(err)
			check(record.Offset == int64(i), record.Offset)
		})
	}
	done.Wait()
}

func autoCommit(broker, name string) {
	send(broker, name, values(0, 10))
	first := consumer(broker, name)
	for i, record := range take(first, 10) {
		check(string(record.Value) == value(i), record)
	}
	// What was polled counts as consumed, and is committed, with the poll that follows.
	shortly, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	first.PollFetches(shortly)
	cancel()
	first.Close()
	send(broker, name, values(10, 11))
	second := consumer(broker, name)
	defer second.Close()
	check(string(take(second, 1)[0].Value) == value(10), "goes on after the ten")
}

func manualCommit(broker, name string) {
	send(broker, name, values(0, 10))
	first := consumer(broker, name, kgo.DisableAutoCommit())
	must(first.CommitRecords(ctx, take(first, 10)[:5]...))
	first.Close()
	second := consumer(broker, name, kgo.DisableAutoCommit())
	defer second.Close()
	check(string(take(second, 1)[0].Value) == value(5), "goes on after the committed five")
}

func jsonPartitions(broker, name string) {
	producer := client(broker)
	defer producer.Close()
	must1(kadm.NewClient(producer).CreateTopic(ctx, 4, 1, nil, name))
	var records []*kgo.Record
	keys, contents := objects()
	for i := range keys {
		records = append(records, &kgo.Record{Topic: name, Key: []byte(keys[i]), Value: contents[i]})
	}
	must(producer.ProduceSync(ctx, records...).FirstErr())
	reader := consumer(broker, name)
	defer reader.Close()
	var partitions []int
	contents = nil
	for _, record := range take(reader, 100) {
		partitions = append(partitions, int(record.Partition))
		contents = append(contents, record.Value)
	}
	checkObjects(partitions, contents)
}

func seek(broker, name string) {
	producer := client(broker)
	defer producer.Close()
	start := time.Now().Add(-100 * time.Second).Truncate(time.Millisecond)
	for i := range 10 {
		record := &kgo.Record{Topic: name, Value: []byte(value(i)), Timestamp: start.Add(time.Duration(i) * time.Second)}
		must(producer.ProduceSync(ctx, record).FirstErr())
	}
	at := start.Add(4500 * time.Millisecond)
	found, _ := must1(kadm.NewClient(producer).ListOffsetsAfterMilli(ctx, at.UnixMilli(), name)).Lookup(name, 0)
	check(found.Offset == 5 && found.Timestamp == start.Add(5*time.Second).UnixMilli(), found)
	reader := client(broker, kgo.ConsumeTopics(name), kgo.ConsumeResetOffset(kgo.NewOffset().AfterMilli(at.UnixMilli())))
	defer reader.Close()
	check(string(take(reader, 1)[0].Value) == value(5), "the record at that time")
}

func headers(broker, name string) {
	sent := []kgo.RecordHeader{{Key: "trace", Value: []byte("1")}, {Key: "trace", Value: []byte("2")}, {Key: "empty", Value: []byte{}}, {Key: "null"}}
	producer := client(broker)
	defer producer.Close()
	must(producer.ProduceSync(ctx, &kgo.Record{Topic: name, Value: []byte("value"), Headers: sent}).FirstErr())
	reader := consumer(broker, name)
	defer reader.Close()
	got := take(reader, 1)[0].Headers
	check(fmt.Sprintf("%#v", got) == fmt.Sprintf("%#v", sent), got)
}

func codecs(broker, name string) {
	all := []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()}
	for _, codec := range all {
		send(broker, name, codecValues, kgo.ProducerBatchCompression(codec), kgo.ProducerLinger(20*time.Millisecond))
	}
	reader := consumer(broker, name)
	defer reader.Close()
	for i, record := range take(reader, 500) {
		check(string(record.Value) == codecValues[i%100], i)
	}
}

func admin(broker, name string) {
	admin := kadm.NewClient(client(broker))
	defer admin.Close()
	hour, compact := "3600000", "compact"
	must1(admin.CreateTopic(ctx, 2, 1, map[string]*string{"retention.ms": &hour}, name))
	check(len(must1(admin.ListTopics(ctx, name))[name].Partitions) == 2, "two partitions")
	must(must1(admin.CreatePartitions(ctx, 1, name)).Error())
	check(len(must1(admin.ListTopics(ctx, name))[name].Partitions) == 3, "three partitions")
	change := []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "cleanup.policy", Value: &compact}}
	_, err := must1(admin.AlterTopicConfigs(ctx, change, name)).On(name, nil)
	must(err)
	told := map[string]string{}
	for _, one := range must1(must1(admin.DescribeTopicConfigs(ctx, name)).On(name, nil)).Configs {
		told[one.Key] = one.MaybeValue()
	}
	check(told["cleanup.policy"] == compact && told["retention.ms"] == hour, told)
	check(len(must1(admin.ListBrokers(ctx))) == 1, "one broker")
	must(must1(admin.DeleteTopics(ctx, name)).Error())
	fresh := kadm.NewClient(client(broker)) // the other one answers from its cache
	defer fresh.Close()
	check(!must1(fresh.ListTopics(ctx)).Has(name), "deleted")
}

func idle(broker, name string) {
	producer, reader := client(broker), consumer(broker, name)
	defer producer.Close()
	defer reader.Close()
	for i := range 2 {
		must(producer.ProduceSync(ctx, &kgo.Record{Topic: name, Value: []byte(value(i))}).FirstErr())
		check(string(take(reader, 1)[0].Value) == value(i), value(i))
		if i == 0 {
			time.Sleep(idleTime())
		}
	}
}

func member(broker, mode, topic, group, instance string) {
	var lock sync.Mutex
	held := map[int]bool{}
	tell := func() {
		var all []int
		for one := range held {
			all = append(all, one)
		}
		assigned(all)
	}
	of := func(partitions map[string][]int32) (all []int) {
		for _, one := range partitions[topic] {
			all = append(all, int(one))
		}
		return all
	}
	gone := func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
		lock.Lock()
		defer lock.Unlock()
		for _, one := range of(partitions) {
			delete(held, one)
		}
		revoked(of(partitions))
		tell()
	}
	got := func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
		lock.Lock()
		defer lock.Unlock()
		for _, one := range of(partitions) {
			held[one] = true
		}
		tell()
	}
	balancer := kgo.Balancers(kgo.RangeBalancer())
	if mode == "cooperative" {
		balancer = kgo.Balancers(kgo.CooperativeStickyBalancer())
	}
	options := []kgo.Opt{kgo.SeedBrokers(broker), kgo.ConsumeTopics(topic), kgo.ConsumerGroup(group), balancer,
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.AutoCommitInterval(500 * time.Millisecond),
		kgo.SessionTimeout(6 * time.Second), kgo.HeartbeatInterval(time.Second),
		kgo.OnPartitionsAssigned(got), kgo.OnPartitionsRevoked(gone), kgo.OnPartitionsLost(gone)}
	if instance != "" {
		options = append(options, kgo.InstanceID(instance))
	}
	if mode == "consumer" {
		options = append(options, kgo.ServerSideBalancer())
	}
	reader := must1(kgo.NewClient(options...))
	until := untilInputEnds()
	for until.Err() == nil {
		for _, record := range reader.PollFetches(until).Records() {
			fmt.Println("read", string(record.Value))
		}
	}
	reader.Close()
	os.Exit(0)
}

func main() {
	run("franz-go", "github.com/twmb/franz-go", map[string]func(string, string){
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
