// The Java clients: admin, an idempotent producer with every codec, a consumer by assignment.
// Arguments: broker, topic.

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

public class Smoke {
    static final int COUNT = 100;

    static void check(boolean holds, Object said) {
        if (!holds) throw new AssertionError(said);
    }

    public static void main(String[] args) throws Exception {
        String broker = args[0], topic = args[1];
        Map<String, Object> common = Map.of("bootstrap.servers", broker);
        TopicPartition partition = new TopicPartition(topic, 1);
        List<String> codecs = List.of("none", "gzip", "snappy", "lz4", "zstd");

        try (Admin admin = Admin.create(common)) {
            admin.createTopics(List.of(new NewTopic(topic, 2, (short) 1))).all().get();
            int found = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().size();
            check(found == 2, found + " partitions");
            ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
            String policy = admin.describeConfigs(List.of(resource)).all().get().get(resource).get("cleanup.policy").value();
            check(policy.equals("delete"), policy);
            check(admin.describeCluster().nodes().get().size() == 1, "more than one node");
        }

        int sent = 0;
        for (String codec : codecs) {
            Map<String, Object> settings = Map.of("bootstrap.servers", broker, "compression.type", codec);
            try (var producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
                List<Future<RecordMetadata>> futures = new ArrayList<>();
                for (int i = 0; i < COUNT; i++) {
                    futures.add(producer.send(new ProducerRecord<>(topic, 1, "key", "value " + sent++)));
                }
                for (int i = 0; i < COUNT; i++) {
                    long offset = futures.get(i).get().offset();
                    check(offset == sent - COUNT + i, "offset " + offset);
                }
            }
        }

        try (var consumer = new KafkaConsumer<>(common, new StringDeserializer(), new StringDeserializer())) {
            consumer.assign(List.of(partition));
            consumer.seekToBeginning(List.of(partition));
            int next = 0;
            for (int polls = 0; next < sent && polls < 100; polls++) {
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(500))) {
                    check(record.offset() == next && record.value().equals("value " + next), record);
                    next++;
                }
            }
            check(next == sent, next + " records");
            check(consumer.endOffsets(List.of(partition)).get(partition) == sent, "end offset");
        }
        try (Admin admin = Admin.create(common)) {
            admin.deleteTopics(List.of(topic)).all().get();
        }
    }
}
