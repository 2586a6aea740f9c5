// The Java clients, as their introductions use them. One scenario per process, one JSON line as its result.
//
//     Client NAME BROKER SCENARIO NAME                      the last: prefix of the topics and groups to use
//     Client NAME BROKER member MODE TOPIC GROUP INSTANCE   one member of a group, until its input ends

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

public class Client {
    static final long WAIT_MS = 30_000; // only so that a client which waits for ever fails its scenario

    interface Scenario {
        void play(String broker, String name) throws Exception;
    }

    static void check(boolean holds, Object said) {
        if (!holds) throw new AssertionError(said);
    }

    static Map<String, Object> settings(String broker, Object... more) {
        Map<String, Object> all = new HashMap<>(Map.of("bootstrap.servers", broker));
        for (int i = 0; i < more.length; i += 2) all.put((String) more[i], more[i + 1]);
        return all;
    }

    static KafkaProducer<String, String> producer(String broker, Object... more) {
        return new KafkaProducer<>(settings(broker, more), new StringSerializer(), new StringSerializer());
    }

    static KafkaConsumer<String, String> consumer(String broker, String group, Object... more) {
        Map<String, Object> all = settings(broker, more);
        all.put("group.id", group);
        all.put("auto.offset.reset", "earliest");
        return new KafkaConsumer<>(all, new StringDeserializer(), new StringDeserializer());
    }

    static KafkaConsumer<String, String> subscribed(String broker, String topic, Object... more) {
        KafkaConsumer<String, String> consumer = consumer(broker, topic + "-group", more);
        consumer.subscribe(List.of(topic));
        return consumer;
    }

    static void send(String broker, String topic, List<String> values, Object... more) throws Exception {
        try (var producer = producer(broker, more)) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (String value : values) sent.add(producer.send(new ProducerRecord<>(topic, 0, null, value)));
            for (Future<RecordMetadata> one : sent) one.get();
        }
    }

    /** The next records, at least `count` of them. */
    static List<ConsumerRecord<String, String>> take(KafkaConsumer<String, String> consumer, int count) {
        List<ConsumerRecord<String, String>> records = new ArrayList<>();
        for (long end = System.currentTimeMillis() + WAIT_MS; records.size() < count; ) {
            check(System.currentTimeMillis() < end, records.size() + " records of " + count);
            consumer.poll(Duration.ofMillis(500)).forEach(records::add);
        }
        return records;
    }

    static List<String> values(int first, int end) {
        List<String> all = new ArrayList<>();
        for (int n = first; n < end; n++) all.add("v" + n);
        return all;
    }

    static void tenKeyed(String broker, String name) {
        ConcurrentLinkedQueue<Object> told = new ConcurrentLinkedQueue<>();
        try (var producer = producer(broker)) {
            for (int i = 0; i < 10; i++) {
                producer.send(new ProducerRecord<>(name, "key-" + i, "message " + i), (metadata, failure) ->
                    told.add(failure == null ? metadata.offset() : failure));
            }
            producer.flush();
        }
        check(new ArrayList<>(told).equals(List.of(0L, 1L, 2L, 3L, 4L, 5L, 6L, 7L, 8L, 9L)), told);
    }

    static void autoCommit(String broker, String name) throws Exception {
        send(broker, name, values(0, 10));
        try (var consumer = subscribed(broker, name, "enable.auto.commit", true)) {
            List<String> got = new ArrayList<>();
            take(consumer, 10).forEach(record -> got.add(record.value()));
            check(got.equals(values(0, 10)), got);
        }
        send(broker, name, values(10, 11));
        try (var consumer = subscribed(broker, name, "enable.auto.commit", true)) {
            check(take(consumer, 1).get(0).value().equals("v10"), "goes on after the ten");
        }
    }

    static void manualCommit(String broker, String name) throws Exception {
        send(broker, name, values(0, 10));
        TopicPartition partition = new TopicPartition(name, 0);
        try (var consumer = subscribed(broker, name, "enable.auto.commit", false)) {
            take(consumer, 10);
            consumer.commitSync(Map.of(partition, new OffsetAndMetadata(5, "half")));
        }
        try (var consumer = subscribed(broker, name, "enable.auto.commit", false)) {
            check(take(consumer, 1).get(0).value().equals("v5"), "goes on after the committed five");
            OffsetAndMetadata found = consumer.committed(Set.of(partition)).get(partition);
            check(found.offset() == 5 && found.metadata().equals("half"), found);
        }
    }

    static void jsonPartitions(String broker, String name) throws Exception {
        try (Admin admin = Admin.create(settings(broker))) {
            admin.createTopics(List.of(new NewTopic(name, 4, (short) 1))).all().get();
        }
        try (var producer = producer(broker)) {
            for (int n = 0; n < 100; n++) {
                String json = String.format("{\"user\": %d, \"number\": %d}", n % 20, n);
                producer.send(new ProducerRecord<>(name, "user-" + n % 20, json));
            }
        }
        Set<Integer> partitions = new HashSet<>(), seen = new HashSet<>();
        Map<Integer, Integer> last = new HashMap<>();
        try (var consumer = subscribed(broker, name)) {
            for (ConsumerRecord<String, String> record : take(consumer, 100)) {
                String[] parts = record.value().replaceAll("[^0-9,]", "").split(",");
                int user = Integer.parseInt(parts[0]), number = Integer.parseInt(parts[1]);
                Integer before = last.put(user, number);
                check(before == null || before < number, "order of user " + user);
                check(seen.add(number), number + " twice");
                partitions.add(record.partition());
            }
        }
        check(seen.size() == 100 && partitions.size() == 4, seen.size() + " objects in " + partitions);
    }

    static void seek(String broker, String name) throws Exception {
        long start = System.currentTimeMillis() - 100_000;
        try (var producer = producer(broker)) {
            for (int i = 0; i < 10; i++) producer.send(new ProducerRecord<>(name, 0, start + i * 1000, null, "v" + i));
        }
        TopicPartition partition = new TopicPartition(name, 0);
        try (var consumer = consumer(broker, "none")) {
            consumer.assign(List.of(partition));
            var found = consumer.offsetsForTimes(Map.of(partition, start + 4500)).get(partition);
            check(found.offset() == 5 && found.timestamp() == start + 5000, found);
            consumer.seek(partition, found.offset());
            check(take(consumer, 1).get(0).value().equals("v5"), "the record at that time");
            check(consumer.offsetsForTimes(Map.of(partition, start + 60_000)).get(partition) == null, "nothing so late");
        }
    }

    static void headers(String broker, String name) throws Exception {
        byte[] bytes = new byte[256];
        for (int i = 0; i < 256; i++) bytes[i] = (byte) i;
        List<Header> sent = List.of(new RecordHeader("trace", "1".getBytes()), new RecordHeader("trace", "2".getBytes()),
            new RecordHeader("bytes", bytes), new RecordHeader("empty", new byte[0]), new RecordHeader("null", (byte[]) null));
        try (var producer = producer(broker)) {
            producer.send(new ProducerRecord<>(name, 0, "key", "value", sent)).get();
        }
        try (var consumer = subscribed(broker, name)) {
            Header[] got = take(consumer, 1).get(0).headers().toArray();
            check(Arrays.asList(got).equals(sent), Arrays.toString(got));
        }
    }

    static void codecs(String broker, String name) throws Exception {
        List<String> values = new ArrayList<>(), all = new ArrayList<>(), got = new ArrayList<>();
        for (int n = 0; n < 100; n++) values.add(("v" + n + " ").repeat(50));
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            send(broker, name, values, "compression.type", codec, "linger.ms", 20);
            all.addAll(values);
        }
        try (var consumer = subscribed(broker, name)) {
            take(consumer, 500).forEach(record -> got.add(record.value()));
        }
        check(got.equals(all), "every value in order");
    }

    static void admin(String broker, String name) throws Exception {
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, name);
        try (Admin admin = Admin.create(settings(broker))) {
            admin.createTopics(List.of(new NewTopic(name, 2, (short) 1).configs(Map.of("retention.ms", "3600000")))).all().get();
            check(partitions(admin, name) == 2, "two partitions");
            admin.createPartitions(Map.of(name, NewPartitions.increaseTo(3))).all().get();
            check(partitions(admin, name) == 3, "three partitions");
            var set = new AlterConfigOp(new ConfigEntry("cleanup.policy", "compact"), AlterConfigOp.OpType.SET);
            admin.incrementalAlterConfigs(Map.of(resource, List.of(set))).all().get();
            Config told = admin.describeConfigs(List.of(resource)).all().get().get(resource);
            check(told.get("cleanup.policy").value().equals("compact"), told);
            check(told.get("retention.ms").value().equals("3600000"), told);
            check(admin.describeCluster().nodes().get().size() == 1, "one broker");
            admin.deleteTopics(List.of(name)).all().get();
            check(!admin.listTopics().names().get().contains(name), "deleted");
        }
    }

    static int partitions(Admin admin, String name) throws Exception {
        return admin.describeTopics(List.of(name)).allTopicNames().get().get(name).partitions().size();
    }

    static void idle(String broker, String name) throws Exception {
        String seconds = System.getenv().getOrDefault("CLIENT_IDLE_S", "5");
        try (var producer = producer(broker); var consumer = subscribed(broker, name)) {
            for (String value : values(0, 2)) {
                producer.send(new ProducerRecord<>(name, value)).get();
                check(take(consumer, 1).get(0).value().equals(value), value);
                if (value.equals("v0")) check(consumer.poll(Duration.ofSeconds(Long.parseLong(seconds))).isEmpty(), "nothing to read");
            }
        }
    }

    static void say(String word, Collection<TopicPartition> partitions) {
        TreeSet<Integer> sorted = new TreeSet<>();
        partitions.forEach(one -> sorted.add(one.partition()));
        StringBuilder line = new StringBuilder(word);
        sorted.forEach(one -> line.append(' ').append(one));
        System.out.println(line);
    }

    static void member(String broker, String mode, String topic, String group, String instance) {
        List<Object> more = new ArrayList<>(List.of("auto.commit.interval.ms", 500));
        if (mode.equals("consumer")) {
            more.addAll(List.of("group.protocol", "consumer"));
        } else {
            String assignor = mode.equals("cooperative") ? "CooperativeStickyAssignor" : "RangeAssignor";
            more.addAll(List.of("session.timeout.ms", 6000, "heartbeat.interval.ms", 1000,
                "partition.assignment.strategy", "org.apache.kafka.clients.consumer." + assignor));
        }
        if (!instance.isEmpty()) more.addAll(List.of("group.instance.id", instance));
        AtomicBoolean ended = new AtomicBoolean();
        Thread listener = new Thread(() -> {
            try {
                System.in.readAllBytes();
            } catch (java.io.IOException closed) {
                // as good as an end
            }
            ended.set(true);
        });
        listener.setDaemon(true);
        listener.start();
        try (var consumer = consumer(broker, group, more.toArray())) {
            consumer.subscribe(List.of(topic), new ConsumerRebalanceListener() {
                public void onPartitionsRevoked(Collection<TopicPartition> gone) {
                    say("revoked", gone);
                }

                public void onPartitionsAssigned(Collection<TopicPartition> added) {
                }
            });
            Set<TopicPartition> held = null;
            while (!ended.get()) {
                consumer.poll(Duration.ofMillis(100)).forEach(record -> System.out.println("read " + record.value()));
                if (!consumer.assignment().equals(held)) {
                    held = new HashSet<>(consumer.assignment());
                    say("assigned", held);
                }
            }
        }
    }

    static final Map<String, Scenario> SCENARIOS = Map.of(
        "ten keyed messages with a callback", Client::tenKeyed,
        "group consumer with auto-commit", Client::autoCommit,
        "group consumer with manual commit", Client::manualCommit,
        "four partitions of JSON", Client::jsonPartitions,
        "seek by time", Client::seek,
        "headers", Client::headers,
        "all codecs", Client::codecs,
        "admin", Client::admin,
        "idle connection", Client::idle);

    static String quoted(String text) {
        return '"' + text.replace("\\", "\\\\").replace("\"", "\\\"").replaceAll("\\p{Cntrl}", " ") + '"';
    }

    /** The library's own word on it: the class that reads it has moved from release to release. */
    static String version() {
        try (var file = KafkaProducer.class.getResourceAsStream("/kafka/kafka-version.properties")) {
            var properties = new java.util.Properties();
            properties.load(file);
            return properties.getProperty("version");
        } catch (java.io.IOException failure) {
            return failure.toString();
        }
    }

    public static void main(String[] args) {
        String client = args[0], broker = args[1], scenario = args[2];
        if (scenario.equals("member")) {
            member(broker, args[3], args[4], args[5], args[6]);
            return;
        }
        String result = "pass", detail = "";
        try {
            SCENARIOS.get(scenario).play(broker, args[3]);
        } catch (Throwable failure) {
            failure.printStackTrace();
            result = "fail";
            detail = failure.toString();
        }
        System.out.printf("{\"client\": %s, \"version\": %s, \"scenario\": %s, \"result\": %s, \"detail\": %s}%n",
            quoted(client), quoted(version()), quoted(scenario), quoted(result), quoted(detail));
        System.exit(0);
    }
}
