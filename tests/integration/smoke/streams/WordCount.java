// Kafka Streams: counts words by way of a repartition topic, into a state store with a changelog topic.
// Arguments: broker, application id, input topic, output topic, directory of the state, kind of store.
// Prints "state NAME" and "restored STORE RECORDS". A line of stdin asks for the store: "count WORD NUMBER" and "end"
// come back, or "busy" where partitions move. The end of stdin ends the program.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StoreQueryParameters;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.errors.InvalidStateStoreException;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.processor.StateRestoreListener;
import org.apache.kafka.streams.state.KeyValueBytesStoreSupplier;
import org.apache.kafka.streams.state.QueryableStoreTypes;
import org.apache.kafka.streams.state.Stores;

public class WordCount {
    static final String STORE = "counts";

    static synchronized void say(String line) {
        System.out.println(line);
        System.out.flush();
    }

    static class Restored implements StateRestoreListener {
        public void onRestoreStart(TopicPartition partition, String store, long first, long end) {}

        public void onBatchRestored(TopicPartition partition, String store, long last, long count) {}

        public void onRestoreEnd(TopicPartition partition, String store, long total) {
            say("restored " + store + " " + total);
        }
    }

    static void tell(KafkaStreams streams) {
        List<String> lines = new ArrayList<>();
        try {
            var type = QueryableStoreTypes.<String, Long>keyValueStore();
            var store = streams.store(StoreQueryParameters.fromNameAndType(STORE, type));
            try (var all = store.all()) {
                all.forEachRemaining(one -> lines.add("count " + one.key + " " + one.value));
            }
            lines.add("end");
        } catch (InvalidStateStoreException moving) {
            lines.clear();
            lines.add("busy");
        }
        lines.forEach(WordCount::say);
    }

    public static void main(String[] args) throws Exception {
        String input = args[2], output = args[3];
        boolean persistent = args[5].equals("persistent");
        Properties settings = new Properties();
        settings.put("bootstrap.servers", args[0]);
        settings.put("application.id", args[1]);
        settings.put("state.dir", args[4]);
        settings.put("num.stream.threads", 2);
        settings.put("processing.guarantee", "at_least_once");
        settings.put("commit.interval.ms", 100);
        settings.put("repartition.purge.interval.ms", 100);
        settings.put("consumer.auto.offset.reset", "earliest");
        settings.put("consumer.session.timeout.ms", 6000); // the least that brokers grant: a killed member leaves soon

        KeyValueBytesStoreSupplier kind =
            persistent ? Stores.persistentKeyValueStore(STORE) : Stores.inMemoryKeyValueStore(STORE);
        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(input, Consumed.with(Serdes.String(), Serdes.String()))
            .flatMapValues(line -> Arrays.asList(line.split(" ")))
            .groupBy((key, word) -> word, Grouped.with("words", Serdes.String(), Serdes.String()))
            .count(Materialized.<String, Long>as(kind).withKeySerde(Serdes.String()).withValueSerde(Serdes.Long()))
            .toStream()
            .to(output, Produced.with(Serdes.String(), Serdes.Long()));

        try (KafkaStreams streams = new KafkaStreams(builder.build(), settings)) {
            streams.setStateListener((now, before) -> say("state " + now));
            streams.setGlobalStateRestoreListener(new Restored());
            streams.start();
            BufferedReader asked = new BufferedReader(new InputStreamReader(System.in));
            while (asked.readLine() != null) {
                tell(streams);
            }
            if (!streams.close(Duration.ofSeconds(30))) throw new IllegalStateException("Streams does not end");
        }
    }
}
