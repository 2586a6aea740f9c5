// Spark structured streaming: counts the words of one topic into another, as far as the topic goes at its start.
// Arguments: broker, input topic, output topic, directory of the checkpoint.
// Prints one line for each micro-batch: its number, the records it read and the position it read up to.

import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.streaming.StreamingQuery;
import org.apache.spark.sql.streaming.StreamingQueryProgress;
import org.apache.spark.sql.streaming.Trigger;

public class Counts {
    public static void main(String[] args) throws Exception {
        SparkSession spark = SparkSession.builder()
            .appName("counts")
            .master("local[2]")
            .config("spark.ui.enabled", "false")
            .config("spark.driver.host", "127.0.0.1")
            .config("spark.driver.bindAddress", "127.0.0.1")
            .config("spark.sql.shuffle.partitions", "2")
            .getOrCreate();
        System.out.println("Spark " + spark.version());
        StreamingQuery query = spark.readStream()
            .format("kafka")
            .option("kafka.bootstrap.servers", args[0])
            .option("subscribe", args[1])
            .option("startingOffsets", "earliest")
            .option("maxOffsetsPerTrigger", "500")
            .load()
            .selectExpr("explode(split(cast(value as string), ' ')) as key")
            .groupBy("key")
            .count()
            .selectExpr("key", "cast(count as string) as value")
            .writeStream()
            .format("kafka")
            .option("kafka.bootstrap.servers", args[0])
            .option("topic", args[2])
            .option("checkpointLocation", args[3])
            .outputMode("update")
            .trigger(Trigger.AvailableNow())
            .start();
        query.awaitTermination();
        for (StreamingQueryProgress one : query.recentProgress()) {
            String end = one.sources()[0].endOffset();
            System.out.println("batch " + one.batchId() + ": " + one.numInputRows() + " records, up to " + end);
        }
        spark.stop();
    }
}
