//! Kafka's broker-level keys that nothing here behaves by, and its second names for some that are acted on.
//!
//! They are here so that a file written for Kafka is read with understanding and DescribeConfigs lists
//! every key that tools look for. Each is one of:
//! - **not acted on**: any value of its type is accepted, told to whoever asks, and logged at start as without
//!   effect: the thing it tunes does not exist here;
//! - **not supported**: its feature is absent, and what asks for it must not be accepted in silence, so any value
//!   but the default is refused.
//!
//! To act on one: delete its row here, and add one to `table.rs`.
//!
//! Source: Kafka 4.1, `AbstractKafkaConfig.CONFIG_DEF` (names, types, defaults; keys that Kafka marks as
//! internal are left out), `LogConfig` and `KafkaConfig` (which second name gives way to which).

use super::{
    kind::ConfigType::{self, *},
    table::{Kind, Row},
};

/// What becomes of a key that nothing here behaves by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stance {
    /// Any value is accepted and changes nothing.
    NotActedOn,
    /// Only the default is accepted.
    NotSupported,
}
use Stance::{NotActedOn, NotSupported};

const fn kafka(
    name: &'static str,
    of: ConfigType,
    default: Option<&'static str>,
    stance: Stance,
    about: &'static str,
) -> Row {
    let kind = Kind::Kafka { of, is_null: default.is_none(), stance };
    let default = match default {
        Some(default) => default,
        None => "",
    };
    Row { name, default, live: false, about, kind }
}

/// A second name of `of`, whose values are worth `factor` there. The higher its `rank`, the sooner it gives way.
const fn second_name(
    name: &'static str,
    of: &'static str,
    factor: Option<i64>,
    rank: u8,
    default: &'static str,
    about: &'static str,
) -> Row {
    Row { name, default, live: false, about, kind: Kind::SecondName { of, factor, rank } }
}

const MINUTE_MS: Option<i64> = Some(60_000);
const HOUR_MS: Option<i64> = Some(3_600_000);

/// Second names of settings that are acted on. Where both are given in one place, the first name wins.
#[rustfmt::skip]
pub(super) const SECOND_NAMES: &[Row] = &[
    second_name("broker.id", "node.id", None, 1, "-1", "Older name of node.id, which wins over it."),
    second_name("log.dirs", "log.dir", None, 0, "", "Kafka's name for a list of data directories; one is supported. It wins over log.dir."),
    second_name("log.retention.hours", "log.retention.ms", HOUR_MS, 2, "168", "log.retention.ms in hours; gives way to log.retention.minutes and log.retention.ms."),
    second_name("log.retention.minutes", "log.retention.ms", MINUTE_MS, 1, "", "log.retention.ms in minutes; gives way to log.retention.ms."),
    second_name("log.roll.hours", "log.roll.ms", HOUR_MS, 1, "168", "log.roll.ms in hours; gives way to log.roll.ms."),
    second_name("log.roll.jitter.hours", "log.roll.jitter.ms", HOUR_MS, 1, "0", "log.roll.jitter.ms in hours; gives way to log.roll.jitter.ms."),
];

/// Keys that nothing here behaves by, by name.
#[rustfmt::skip]
pub(super) const KAFKA: &[Row] = &[
    kafka("add.partitions.to.txn.retry.backoff.max.ms", Int, Some("100"), NotActedOn, "Longest wait of an internal retry of AddPartitionsToTxn."),
    kafka("add.partitions.to.txn.retry.backoff.ms", Int, Some("20"), NotActedOn, "Wait before an internal retry of AddPartitionsToTxn."),
    kafka("alter.config.policy.class.name", Class, None, NotSupported, "Java class that may veto changes of configuration."),
    kafka("alter.log.dirs.replication.quota.window.num", Int, Some("11"), NotActedOn, "Samples kept for the quota of moves between log directories."),
    kafka("alter.log.dirs.replication.quota.window.size.seconds", Int, Some("1"), NotActedOn, "Seconds of one sample for the quota of moves between log directories."),
    kafka("authorizer.class.name", String, Some(""), NotSupported, "Java class that decides who may do what."),
    kafka("auto.leader.rebalance.enable", Boolean, Some("true"), NotActedOn, "Whether leaders return to their preferred replicas by themselves."),
    kafka("background.threads", Int, Some("10"), NotActedOn, "Threads for background work; here each core has one thread for everything."),
    kafka("broker.heartbeat.interval.ms", Int, Some("2000"), NotSupported, "How often a broker reports to its controller."),
    kafka("broker.rack", String, None, NotSupported, "Rack or zone of this broker."),
    kafka("broker.session.timeout.ms", Int, Some("9000"), NotSupported, "Silence after which a controller takes a broker for gone."),
    kafka("client.quota.callback.class", Class, None, NotSupported, "Java class that computes client quotas."),
    kafka("connection.failed.authentication.delay.ms", Int, Some("100"), NotSupported, "How long a connection stays open after it failed to authenticate."),
    kafka("connections.max.reauth.ms", Long, Some("0"), NotSupported, "How long an authenticated connection lives without authenticating again; 0: for ever."),
    kafka("controlled.shutdown.enable", Boolean, Some("true"), NotActedOn, "Whether a stop is prepared; here every stop by a signal is."),
    kafka("controller.listener.names", String, None, NotSupported, "Listeners that controllers use."),
    kafka("controller.quorum.append.linger.ms", Int, Some("25"), NotSupported, "How long a quorum leader gathers writes before it flushes them."),
    kafka("controller.quorum.bootstrap.servers", List, Some(""), NotSupported, "Where the metadata quorum is found."),
    kafka("controller.quorum.election.backoff.max.ms", Int, Some("1000"), NotSupported, "Longest wait before another election of the metadata quorum."),
    kafka("controller.quorum.election.timeout.ms", Int, Some("1000"), NotSupported, "How long a candidate waits for votes."),
    kafka("controller.quorum.fetch.timeout.ms", Int, Some("2000"), NotSupported, "Silence of the quorum leader after which an election starts."),
    kafka("controller.quorum.request.timeout.ms", Int, Some("2000"), NotSupported, "How long a request within the quorum waits for its answer."),
    kafka("controller.quorum.retry.backoff.ms", Int, Some("20"), NotSupported, "Wait before a request within the quorum is sent again."),
    kafka("controller.quorum.voters", List, Some(""), NotSupported, "Voters of the metadata quorum, as id@host:port."),
    kafka("controller.quota.window.num", Int, Some("11"), NotActedOn, "Samples kept for the quota of topic changes."),
    kafka("controller.quota.window.size.seconds", Int, Some("1"), NotActedOn, "Seconds of one sample for the quota of topic changes."),
    kafka("controller.socket.timeout.ms", Int, Some("30000"), NotSupported, "How long a request to the controller waits on its socket."),
    kafka("create.topic.policy.class.name", Class, None, NotSupported, "Java class that may veto the creation of topics."),
    kafka("delegation.token.expiry.check.interval.ms", Long, Some("3600000"), NotSupported, "How often expired delegation tokens are removed."),
    kafka("delegation.token.expiry.time.ms", Long, Some("86400000"), NotSupported, "How long a delegation token is valid until it is renewed."),
    kafka("delegation.token.max.lifetime.ms", Long, Some("604800000"), NotSupported, "How long a delegation token can be renewed."),
    kafka("delegation.token.secret.key", Password, None, NotSupported, "Secret that signs delegation tokens."),
    kafka("delete.records.purgatory.purge.interval.requests", Int, Some("1"), NotActedOn, "Finished DeleteRecords requests after which the waiting list is cleaned."),
    kafka("delete.topic.enable", Boolean, Some("true"), NotActedOn, "Whether topics can be deleted; here they always can."),
    kafka("early.start.listeners", String, None, NotSupported, "Listeners that open before the authorizer is ready."),
    kafka("fetch.max.bytes", Int, Some("57671680"), NotActedOn, "Most bytes in the answer to one fetch."),
    kafka("fetch.purgatory.purge.interval.requests", Int, Some("1000"), NotActedOn, "Finished fetches after which the waiting list is cleaned."),
    kafka("group.consumer.assignors", List, Some("uniform,range"), NotActedOn, "Server-side assignors of consumer groups, the preferred one first."),
    kafka("group.coordinator.append.linger.ms", Int, Some("5"), NotActedOn, "How long the group coordinator gathers writes; here writes gather while one is in flight."),
    kafka("group.coordinator.rebalance.protocols", List, Some("classic,consumer,streams"), NotActedOn, "Group protocols that are offered."),
    kafka("group.coordinator.threads", Int, Some("4"), NotActedOn, "Threads of the group coordinator; here each core coordinates its own groups."),
    kafka("group.share.assignors", List, Some("simple"), NotSupported, "Server-side assignors of share groups."),
    kafka("group.share.delivery.count.limit", Int, Some("5"), NotSupported, "How often a record is delivered to a share group at most."),
    kafka("group.share.heartbeat.interval.ms", Int, Some("5000"), NotSupported, "How often members of a share group report."),
    kafka("group.share.max.heartbeat.interval.ms", Int, Some("15000"), NotSupported, "Longest heartbeat interval a share group may have."),
    kafka("group.share.max.record.lock.duration.ms", Int, Some("60000"), NotSupported, "Longest time that a share group may hold a record."),
    kafka("group.share.max.session.timeout.ms", Int, Some("60000"), NotSupported, "Longest session timeout a share group may have."),
    kafka("group.share.max.share.sessions", Int, Some("2000"), NotSupported, "Most share sessions of one broker."),
    kafka("group.share.max.size", Int, Some("200"), NotSupported, "Most members of one share group."),
    kafka("group.share.min.heartbeat.interval.ms", Int, Some("5000"), NotSupported, "Shortest heartbeat interval a share group may have."),
    kafka("group.share.min.record.lock.duration.ms", Int, Some("15000"), NotSupported, "Shortest time that a share group may hold a record."),
    kafka("group.share.min.session.timeout.ms", Int, Some("45000"), NotSupported, "Shortest session timeout a share group may have."),
    kafka("group.share.partition.max.record.locks", Int, Some("2000"), NotSupported, "Most records of one partition that a share group holds."),
    kafka("group.share.record.lock.duration.ms", Int, Some("30000"), NotSupported, "How long a share group holds a record."),
    kafka("group.share.session.timeout.ms", Int, Some("45000"), NotSupported, "Silence after which a member of a share group is taken for gone."),
    kafka("group.streams.heartbeat.interval.ms", Int, Some("5000"), NotSupported, "How often members of a streams group report."),
    kafka("group.streams.max.heartbeat.interval.ms", Int, Some("15000"), NotSupported, "Longest heartbeat interval a streams group may have."),
    kafka("group.streams.max.session.timeout.ms", Int, Some("60000"), NotSupported, "Longest session timeout a streams group may have."),
    kafka("group.streams.max.size", Int, Some("2147483647"), NotSupported, "Most members of one streams group."),
    kafka("group.streams.max.standby.replicas", Int, Some("2"), NotSupported, "Most standby copies of a task in a streams group."),
    kafka("group.streams.min.heartbeat.interval.ms", Int, Some("5000"), NotSupported, "Shortest heartbeat interval a streams group may have."),
    kafka("group.streams.min.session.timeout.ms", Int, Some("45000"), NotSupported, "Shortest session timeout a streams group may have."),
    kafka("group.streams.num.standby.replicas", Int, Some("0"), NotSupported, "Standby copies of a task in a streams group."),
    kafka("group.streams.session.timeout.ms", Int, Some("45000"), NotSupported, "Silence after which a member of a streams group is taken for gone."),
    kafka("initial.broker.registration.timeout.ms", Int, Some("60000"), NotSupported, "How long a starting broker waits for its controller."),
    kafka("inter.broker.listener.name", String, None, NotSupported, "Listener that brokers use among themselves."),
    kafka("kafka.metrics.polling.interval.secs", Int, Some("10"), NotActedOn, "How often Java metrics reporters are asked."),
    kafka("kafka.metrics.reporters", List, Some(""), NotSupported, "Java classes that report metrics."),
    kafka("leader.imbalance.check.interval.seconds", Long, Some("300"), NotActedOn, "How often the balance of leaders is looked at."),
    kafka("listener.security.protocol.map", String, Some("SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT"), NotSupported, "Security protocol of each listener name."),
    kafka("log.cleaner.enable", Boolean, Some("true"), NotActedOn, "Whether logs are compacted; here compacted topics always are."),
    kafka("log.cleaner.io.buffer.load.factor", Double, Some("0.9"), NotActedOn, "How full the table of keys of a compaction may get."),
    kafka("log.cleaner.io.buffer.size", Int, Some("524288"), NotActedOn, "Bytes of the buffers of compaction."),
    kafka("log.cleaner.threads", Int, Some("1"), NotActedOn, "Threads for compaction; here each core compacts its own partitions."),
    kafka("log.dir.failure.timeout.ms", Long, Some("30000"), NotSupported, "How long a broker with a failed directory may fail to report it."),
    kafka("log.flush.offset.checkpoint.interval.ms", Int, Some("60000"), NotActedOn, "How often the recovery point is saved; here shards.checkpoint.interval.ms says it."),
    kafka("log.flush.scheduler.interval.ms", Long, Some("9223372036854775807"), NotActedOn, "How often the need of a flush is looked at; here shards.flush.interval.ms says it."),
    kafka("log.flush.start.offset.checkpoint.interval.ms", Int, Some("60000"), NotActedOn, "How often log start offsets are saved; here shards.checkpoint.interval.ms says it."),
    kafka("max.connection.creation.rate", Int, Some("2147483647"), NotActedOn, "Most new connections per second."),
    kafka("max.connections.per.ip", Int, Some("2147483647"), NotActedOn, "Most connections from one address."),
    kafka("max.connections.per.ip.overrides", String, Some(""), NotActedOn, "Most connections from one address, for named addresses."),
    kafka("max.request.partition.size.limit", Int, Some("2000"), NotActedOn, "Most partitions that one DescribeTopicPartitions answer holds."),
    kafka("metadata.log.dir", String, None, NotSupported, "Directory of the cluster's metadata; here it lies in log.dir."),
    kafka("metadata.log.max.record.bytes.between.snapshots", Long, Some("20971520"), NotActedOn, "Bytes of metadata after which a snapshot is written."),
    kafka("metadata.log.max.snapshot.interval.ms", Long, Some("3600000"), NotActedOn, "Longest time between two snapshots of the metadata."),
    kafka("metadata.log.segment.bytes", Int, Some("1073741824"), NotActedOn, "Bytes of one segment of the metadata log."),
    kafka("metadata.log.segment.ms", Long, Some("604800000"), NotActedOn, "Age at which a segment of the metadata log is rolled."),
    kafka("metadata.max.idle.interval.ms", Int, Some("500"), NotActedOn, "How often an idle quorum leader writes an empty record."),
    kafka("metadata.max.retention.bytes", Long, Some("104857600"), NotActedOn, "Bytes of metadata that are kept before old snapshots are deleted."),
    kafka("metadata.max.retention.ms", Long, Some("604800000"), NotActedOn, "How long metadata is kept before old snapshots are deleted."),
    kafka("metric.reporters", List, Some("org.apache.kafka.common.metrics.JmxReporter"), NotActedOn, "Java classes that are told of new metrics."),
    kafka("metrics.num.samples", Int, Some("2"), NotActedOn, "Samples kept for a metric."),
    kafka("metrics.recording.level", String, Some("INFO"), NotActedOn, "Most detailed level of metrics recorded."),
    kafka("metrics.sample.window.ms", Long, Some("30000"), NotActedOn, "Time that one sample of a metric covers."),
    kafka("num.io.threads", Int, Some("8"), NotActedOn, "Threads that process requests; here every core processes its own."),
    kafka("num.network.threads", Int, Some("3"), NotActedOn, "Threads that serve sockets; here every core serves its own."),
    kafka("num.recovery.threads.per.data.dir", Int, Some("2"), NotActedOn, "Threads that recover logs at start; here every core recovers its own."),
    kafka("num.replica.alter.log.dirs.threads", Int, None, NotActedOn, "Threads that move replicas between directories."),
    kafka("num.replica.fetchers", Int, Some("1"), NotActedOn, "Threads that fetch from one other broker."),
    kafka("offset.metadata.max.bytes", Int, Some("4096"), NotActedOn, "Most bytes of metadata in one offset commit."),
    kafka("offsets.commit.timeout.ms", Int, Some("5000"), NotActedOn, "How long an offset commit may take."),
    kafka("offsets.load.buffer.size", Int, Some("5242880"), NotActedOn, "Bytes read at once while committed offsets are loaded."),
    kafka("offsets.topic.compression.codec", Int, Some("0"), NotActedOn, "Codec of the topic of committed offsets; 0: none."),
    kafka("offsets.topic.num.partitions", Int, Some("50"), NotActedOn, "Partitions of the topic of committed offsets."),
    kafka("offsets.topic.replication.factor", Short, Some("3"), NotActedOn, "Replicas of the topic of committed offsets; here one, as there is one broker."),
    kafka("offsets.topic.segment.bytes", Int, Some("104857600"), NotActedOn, "Bytes of a segment of the topic of committed offsets."),
    kafka("principal.builder.class", Class, Some("org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder"), NotSupported, "Java class that names who a connection belongs to."),
    kafka("process.roles", List, Some("broker,controller"), NotSupported, "What this process is; here broker and controller in one."),
    kafka("producer.purgatory.purge.interval.requests", Int, Some("1000"), NotActedOn, "Finished produces after which the waiting list is cleaned."),
    kafka("queued.max.request.bytes", Long, Some("-1"), NotActedOn, "Most bytes of requests that wait; here shards.memory.bytes bounds them."),
    kafka("queued.max.requests", Int, Some("500"), NotActedOn, "Most requests that wait; here connection.in.flight.max bounds them."),
    kafka("quota.window.num", Int, Some("11"), NotActedOn, "Samples kept for client quotas."),
    kafka("quota.window.size.seconds", Int, Some("1"), NotActedOn, "Seconds of one sample for client quotas."),
    kafka("remote.fetch.max.wait.ms", Int, Some("500"), NotSupported, "How long a fetch waits for tiered storage."),
    kafka("remote.list.offsets.request.timeout.ms", Long, Some("30000"), NotSupported, "How long an offset lookup waits for tiered storage."),
    kafka("remote.log.index.file.cache.total.size.bytes", Long, Some("1073741824"), NotSupported, "Bytes of cached indexes of tiered segments."),
    kafka("remote.log.manager.copier.thread.pool.size", Int, Some("10"), NotSupported, "Threads that copy segments to tiered storage."),
    kafka("remote.log.manager.copy.max.bytes.per.second", Long, Some("9223372036854775807"), NotSupported, "Most bytes per second copied to tiered storage."),
    kafka("remote.log.manager.copy.quota.window.num", Int, Some("11"), NotSupported, "Samples kept for the quota of copies to tiered storage."),
    kafka("remote.log.manager.copy.quota.window.size.seconds", Int, Some("1"), NotSupported, "Seconds of one sample for the quota of copies to tiered storage."),
    kafka("remote.log.manager.expiration.thread.pool.size", Int, Some("10"), NotSupported, "Threads that delete expired tiered segments."),
    kafka("remote.log.manager.fetch.max.bytes.per.second", Long, Some("9223372036854775807"), NotSupported, "Most bytes per second read from tiered storage."),
    kafka("remote.log.manager.fetch.quota.window.num", Int, Some("11"), NotSupported, "Samples kept for the quota of reads from tiered storage."),
    kafka("remote.log.manager.fetch.quota.window.size.seconds", Int, Some("1"), NotSupported, "Seconds of one sample for the quota of reads from tiered storage."),
    kafka("remote.log.manager.task.interval.ms", Long, Some("30000"), NotSupported, "How often work for tiered storage is looked for."),
    kafka("remote.log.manager.thread.pool.size", Int, Some("2"), NotSupported, "Threads that schedule work for tiered storage."),
    kafka("remote.log.metadata.custom.metadata.max.bytes", Int, Some("128"), NotSupported, "Most bytes that a tiered storage plugin may add to a segment's metadata."),
    kafka("remote.log.metadata.manager.class.name", String, Some("org.apache.kafka.server.log.remote.metadata.storage.TopicBasedRemoteLogMetadataManager"), NotSupported, "Java class that keeps the metadata of tiered segments."),
    kafka("remote.log.metadata.manager.class.path", String, None, NotSupported, "Class path of that Java class."),
    kafka("remote.log.metadata.manager.impl.prefix", String, Some("rlmm.config."), NotSupported, "Prefix of settings that are passed to the keeper of tiered metadata."),
    kafka("remote.log.metadata.manager.listener.name", String, None, NotSupported, "Listener that the keeper of tiered metadata uses."),
    kafka("remote.log.reader.max.pending.tasks", Int, Some("100"), NotSupported, "Most reads from tiered storage that wait."),
    kafka("remote.log.reader.threads", Int, Some("10"), NotSupported, "Threads that read from tiered storage."),
    kafka("remote.log.storage.manager.class.name", String, None, NotSupported, "Java class that stores tiered segments."),
    kafka("remote.log.storage.manager.class.path", String, None, NotSupported, "Class path of the Java class that stores tiered segments."),
    kafka("remote.log.storage.manager.impl.prefix", String, Some("rsm.config."), NotSupported, "Prefix of settings that are passed to the tiered storage plugin."),
    kafka("remote.log.storage.system.enable", Boolean, Some("false"), NotSupported, "Whether this broker offers tiered storage."),
    kafka("replica.fetch.backoff.ms", Int, Some("1000"), NotActedOn, "Wait after a failed fetch from a leader."),
    kafka("replica.fetch.max.bytes", Int, Some("1048576"), NotActedOn, "Bytes per partition that a follower asks for."),
    kafka("replica.fetch.min.bytes", Int, Some("1"), NotActedOn, "Bytes that a follower's fetch waits for."),
    kafka("replica.fetch.response.max.bytes", Int, Some("10485760"), NotActedOn, "Bytes that a follower asks for in all."),
    kafka("replica.fetch.wait.max.ms", Int, Some("500"), NotActedOn, "How long a follower's fetch waits at its leader."),
    kafka("replica.high.watermark.checkpoint.interval.ms", Long, Some("5000"), NotActedOn, "How often high watermarks are saved; here shards.checkpoint.interval.ms says it."),
    kafka("replica.lag.time.max.ms", Long, Some("30000"), NotActedOn, "How long a follower may lag and still count as in sync."),
    kafka("replica.selector.class", String, None, NotSupported, "Java class that chooses the replica a consumer reads from."),
    kafka("replica.socket.receive.buffer.bytes", Int, Some("65536"), NotActedOn, "Receive buffer of a follower's socket."),
    kafka("replica.socket.timeout.ms", Int, Some("30000"), NotActedOn, "How long a follower's request waits on its socket."),
    kafka("replication.quota.window.num", Int, Some("11"), NotActedOn, "Samples kept for replication quotas."),
    kafka("replication.quota.window.size.seconds", Int, Some("1"), NotActedOn, "Seconds of one sample for replication quotas."),
    kafka("request.timeout.ms", Int, Some("30000"), NotActedOn, "How long the broker's own requests to other brokers wait."),
    kafka("sasl.client.callback.handler.class", Class, None, NotSupported, "Java class for SASL callbacks of clients."),
    kafka("sasl.enabled.mechanisms", List, Some("GSSAPI"), NotSupported, "SASL mechanisms that clients may use."),
    kafka("sasl.jaas.config", Password, None, NotSupported, "JAAS login context for SASL."),
    kafka("sasl.kerberos.kinit.cmd", String, Some("/usr/bin/kinit"), NotSupported, "Path of the Kerberos kinit command."),
    kafka("sasl.kerberos.min.time.before.relogin", Long, Some("60000"), NotSupported, "Shortest time between two Kerberos logins, in milliseconds."),
    kafka("sasl.kerberos.principal.to.local.rules", List, Some("DEFAULT"), NotSupported, "Rules that map Kerberos principals to short names."),
    kafka("sasl.kerberos.service.name", String, None, NotSupported, "Kerberos principal name that brokers run as."),
    kafka("sasl.kerberos.ticket.renew.jitter", Double, Some("0.05"), NotSupported, "Random part of the time until a Kerberos ticket is renewed."),
    kafka("sasl.kerberos.ticket.renew.window.factor", Double, Some("0.8"), NotSupported, "Share of a Kerberos ticket's life after which it is renewed."),
    kafka("sasl.login.callback.handler.class", Class, None, NotSupported, "Java class for SASL callbacks of logins."),
    kafka("sasl.login.class", Class, None, NotSupported, "Java class that logs in for SASL."),
    kafka("sasl.login.connect.timeout.ms", Int, None, NotSupported, "How long a connection to the identity provider may take."),
    kafka("sasl.login.read.timeout.ms", Int, None, NotSupported, "How long an answer of the identity provider may take."),
    kafka("sasl.login.refresh.buffer.seconds", Short, Some("300"), NotSupported, "Seconds of a credential's life that must be left when it is refreshed."),
    kafka("sasl.login.refresh.min.period.seconds", Short, Some("60"), NotSupported, "Shortest time between two refreshes of a credential."),
    kafka("sasl.login.refresh.window.factor", Double, Some("0.8"), NotSupported, "Share of a credential's life after which it is refreshed."),
    kafka("sasl.login.refresh.window.jitter", Double, Some("0.05"), NotSupported, "Random part of the time until a credential is refreshed."),
    kafka("sasl.login.retry.backoff.max.ms", Long, Some("10000"), NotSupported, "Longest wait between two tries to log in."),
    kafka("sasl.login.retry.backoff.ms", Long, Some("100"), NotSupported, "First wait between two tries to log in."),
    kafka("sasl.mechanism.controller.protocol", String, Some("GSSAPI"), NotSupported, "SASL mechanism towards controllers."),
    kafka("sasl.mechanism.inter.broker.protocol", String, Some("GSSAPI"), NotSupported, "SASL mechanism among brokers."),
    kafka("sasl.oauthbearer.assertion.algorithm", String, Some("RS256"), NotSupported, "Algorithm that signs OAuth assertions."),
    kafka("sasl.oauthbearer.assertion.claim.aud", String, None, NotSupported, "Audience claim of OAuth assertions."),
    kafka("sasl.oauthbearer.assertion.claim.exp.seconds", Int, Some("300"), NotSupported, "Seconds until an OAuth assertion expires."),
    kafka("sasl.oauthbearer.assertion.claim.iss", String, None, NotSupported, "Issuer claim of OAuth assertions."),
    kafka("sasl.oauthbearer.assertion.claim.jti.include", Boolean, Some("false"), NotSupported, "Whether an OAuth assertion carries an id of its own."),
    kafka("sasl.oauthbearer.assertion.claim.nbf.seconds", Int, Some("60"), NotSupported, "Seconds by which an OAuth assertion is valid before it was made."),
    kafka("sasl.oauthbearer.assertion.claim.sub", String, None, NotSupported, "Subject claim of OAuth assertions."),
    kafka("sasl.oauthbearer.assertion.file", String, None, NotSupported, "File with a ready-made OAuth assertion."),
    kafka("sasl.oauthbearer.assertion.private.key.file", String, None, NotSupported, "File with the private key that signs OAuth assertions."),
    kafka("sasl.oauthbearer.assertion.private.key.passphrase", Password, None, NotSupported, "Passphrase of the private key that signs OAuth assertions."),
    kafka("sasl.oauthbearer.assertion.template.file", String, None, NotSupported, "File with headers and claims of OAuth assertions."),
    kafka("sasl.oauthbearer.client.credentials.client.id", String, None, NotSupported, "Client id for the OAuth client credentials grant."),
    kafka("sasl.oauthbearer.client.credentials.client.secret", Password, None, NotSupported, "Client secret for the OAuth client credentials grant."),
    kafka("sasl.oauthbearer.clock.skew.seconds", Int, Some("30"), NotSupported, "Seconds by which clocks of broker and identity provider may differ."),
    kafka("sasl.oauthbearer.expected.audience", List, None, NotSupported, "Audiences that a token may be for."),
    kafka("sasl.oauthbearer.expected.issuer", String, None, NotSupported, "Issuer that a token must be of."),
    kafka("sasl.oauthbearer.jwks.endpoint.refresh.ms", Long, Some("3600000"), NotSupported, "How often the identity provider's keys are read again."),
    kafka("sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms", Long, Some("10000"), NotSupported, "Longest wait between two tries to read the identity provider's keys."),
    kafka("sasl.oauthbearer.jwks.endpoint.retry.backoff.ms", Long, Some("100"), NotSupported, "First wait between two tries to read the identity provider's keys."),
    kafka("sasl.oauthbearer.jwks.endpoint.url", String, None, NotSupported, "Where the identity provider's keys are read."),
    kafka("sasl.oauthbearer.jwt.retriever.class", Class, Some("org.apache.kafka.common.security.oauthbearer.DefaultJwtRetriever"), NotSupported, "Java class that fetches tokens."),
    kafka("sasl.oauthbearer.jwt.validator.class", Class, Some("org.apache.kafka.common.security.oauthbearer.DefaultJwtValidator"), NotSupported, "Java class that checks tokens."),
    kafka("sasl.oauthbearer.scope", String, None, NotSupported, "Scope that is asked for with a token."),
    kafka("sasl.oauthbearer.scope.claim.name", String, Some("scope"), NotSupported, "Name of the claim that holds the scope."),
    kafka("sasl.oauthbearer.sub.claim.name", String, Some("sub"), NotSupported, "Name of the claim that holds the subject."),
    kafka("sasl.oauthbearer.token.endpoint.url", String, None, NotSupported, "Where tokens are fetched."),
    kafka("sasl.server.callback.handler.class", Class, None, NotSupported, "Java class for SASL callbacks of brokers."),
    kafka("sasl.server.max.receive.size", Int, Some("524288"), NotSupported, "Most bytes received before a SASL connection has authenticated."),
    kafka("security.inter.broker.protocol", String, Some("PLAINTEXT"), NotSupported, "Security protocol among brokers."),
    kafka("security.providers", String, None, NotSupported, "Java classes that offer security algorithms."),
    kafka("share.coordinator.append.linger.ms", Int, Some("5"), NotSupported, "How long the share coordinator gathers writes."),
    kafka("share.coordinator.load.buffer.size", Int, Some("5242880"), NotSupported, "Bytes read at once while share-group state is loaded."),
    kafka("share.coordinator.snapshot.update.records.per.snapshot", Int, Some("500"), NotSupported, "Updates of share-group state between two snapshots."),
    kafka("share.coordinator.state.topic.compression.codec", Int, Some("0"), NotSupported, "Codec of the topic of share-group state."),
    kafka("share.coordinator.state.topic.min.isr", Short, Some("2"), NotSupported, "In-sync replicas that the topic of share-group state needs."),
    kafka("share.coordinator.state.topic.num.partitions", Int, Some("50"), NotSupported, "Partitions of the topic of share-group state."),
    kafka("share.coordinator.state.topic.replication.factor", Short, Some("3"), NotSupported, "Replicas of the topic of share-group state."),
    kafka("share.coordinator.state.topic.segment.bytes", Int, Some("104857600"), NotSupported, "Bytes of a segment of the topic of share-group state."),
    kafka("share.coordinator.threads", Int, Some("1"), NotSupported, "Threads of the share coordinator."),
    kafka("share.coordinator.write.timeout.ms", Int, Some("5000"), NotSupported, "How long a write of share-group state may take."),
    kafka("share.fetch.purgatory.purge.interval.requests", Int, Some("1000"), NotSupported, "Finished share fetches after which the waiting list is cleaned."),
    kafka("socket.connection.setup.timeout.max.ms", Long, Some("30000"), NotActedOn, "Longest wait for a connection to another broker."),
    kafka("socket.connection.setup.timeout.ms", Long, Some("10000"), NotActedOn, "First wait for a connection to another broker."),
    kafka("socket.listen.backlog.size", Int, Some("50"), NotActedOn, "Connections that wait to be accepted."),
    kafka("socket.receive.buffer.bytes", Int, Some("102400"), NotActedOn, "Receive buffer of a client's socket."),
    kafka("socket.send.buffer.bytes", Int, Some("102400"), NotActedOn, "Send buffer of a client's socket."),
    kafka("ssl.allow.dn.changes", Boolean, Some("false"), NotSupported, "Whether a new certificate may have another distinguished name."),
    kafka("ssl.allow.san.changes", Boolean, Some("false"), NotSupported, "Whether a new certificate may lack names that the old one had."),
    kafka("ssl.cipher.suites", List, Some(""), NotSupported, "TLS cipher suites that may be used; empty: the usual ones."),
    kafka("ssl.client.auth", String, Some("none"), NotSupported, "Whether clients must show a certificate."),
    kafka("ssl.enabled.protocols", List, Some("TLSv1.2,TLSv1.3"), NotSupported, "TLS versions that may be used."),
    kafka("ssl.endpoint.identification.algorithm", String, Some("https"), NotSupported, "How the name in a certificate is checked."),
    kafka("ssl.engine.factory.class", Class, None, NotSupported, "Java class that makes TLS engines."),
    kafka("ssl.key.password", Password, None, NotSupported, "Password of the private key."),
    kafka("ssl.keymanager.algorithm", String, Some("SunX509"), NotSupported, "Algorithm of the Java key manager."),
    kafka("ssl.keystore.certificate.chain", Password, None, NotSupported, "Certificate chain, as PEM."),
    kafka("ssl.keystore.key", Password, None, NotSupported, "Private key, as PEM."),
    kafka("ssl.keystore.location", String, None, NotSupported, "File of the key store."),
    kafka("ssl.keystore.password", Password, None, NotSupported, "Password of the key store."),
    kafka("ssl.keystore.type", String, Some("JKS"), NotSupported, "Format of the key store."),
    kafka("ssl.principal.mapping.rules", String, Some("DEFAULT"), NotSupported, "Rules that map certificate names to short names."),
    kafka("ssl.protocol", String, Some("TLSv1.3"), NotSupported, "TLS version that is preferred."),
    kafka("ssl.provider", String, None, NotSupported, "Java security provider for TLS."),
    kafka("ssl.secure.random.implementation", String, None, NotSupported, "Java random number generator for TLS."),
    kafka("ssl.trustmanager.algorithm", String, Some("PKIX"), NotSupported, "Algorithm of the Java trust manager."),
    kafka("ssl.truststore.certificates", Password, None, NotSupported, "Trusted certificates, as PEM."),
    kafka("ssl.truststore.location", String, None, NotSupported, "File of the trust store."),
    kafka("ssl.truststore.password", Password, None, NotSupported, "Password of the trust store."),
    kafka("ssl.truststore.type", String, Some("JKS"), NotSupported, "Format of the trust store."),
    kafka("telemetry.max.bytes", Int, Some("1048576"), NotActedOn, "Most bytes of one push of client metrics."),
    kafka("transaction.abort.timed.out.transaction.cleanup.interval.ms", Int, Some("10000"), NotActedOn, "How often transactions past their timeout are looked for."),
    kafka("transaction.max.timeout.ms", Int, Some("900000"), NotActedOn, "Longest timeout that a transaction may ask for."),
    kafka("transaction.partition.verification.enable", Boolean, Some("true"), NotActedOn, "Whether an append of a transaction is checked to belong to a running one."),
    kafka("transaction.remove.expired.transaction.cleanup.interval.ms", Int, Some("3600000"), NotActedOn, "How often expired transactional ids are looked for."),
    kafka("transaction.state.log.load.buffer.size", Int, Some("5242880"), NotActedOn, "Bytes read at once while transactions are loaded."),
    kafka("transaction.state.log.min.isr", Int, Some("2"), NotActedOn, "In-sync replicas that the topic of transactions needs."),
    kafka("transaction.state.log.num.partitions", Int, Some("50"), NotActedOn, "Partitions of the topic of transactions."),
    kafka("transaction.state.log.replication.factor", Short, Some("3"), NotActedOn, "Replicas of the topic of transactions; here one, as there is one broker."),
    kafka("transaction.state.log.segment.bytes", Int, Some("104857600"), NotActedOn, "Bytes of a segment of the topic of transactions."),
    kafka("transaction.two.phase.commit.enable", Boolean, Some("false"), NotSupported, "Whether transactions of an outside coordinator are accepted."),
    kafka("transactional.id.expiration.ms", Int, Some("604800000"), NotActedOn, "How long an idle transactional id is kept."),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{load, table::TABLE};

    /// Name, type and default of every broker-level key of Kafka 4.1 that is not internal.
    const KEYS: &str = include_str!("kafka-4.1-broker-keys.tsv");

    /// Where ours differ in type or default, and why.
    const DIFFERENT: &[(&str, &str)] = &[
        ("node.id", "Kafka has no default"),
        ("process.roles", "Kafka has no default; it is always both here"),
        ("broker.id", "the value of node.id"),
        ("log.dir", "the data directory of a first start"),
        ("listeners", "loopback, until somebody says otherwise"),
        ("max.connections", "a bound that memory is planned for"),
        ("group.max.size", "a bound that memory is planned for"),
        ("offsets.retention.check.interval.ms", "an int there"),
        ("log.cleaner.dedupe.buffer.size", "a bound that memory is planned for"),
        ("log.cleaner.io.max.bytes.per.second", "bounded, whole bytes"),
        ("log.retention.ms", "Kafka's comes from log.retention.hours, the same time"),
        ("log.roll.ms", "Kafka's comes from log.roll.hours, the same time"),
        ("log.roll.jitter.ms", "Kafka's comes from log.roll.jitter.hours, the same time"),
        ("log.flush.interval.ms", "Kafka's comes from log.flush.scheduler.interval.ms, the same time"),
        ("socket.request.max.bytes", "the same"),
    ];

    #[test]
    fn every_broker_key_of_kafka_is_there_with_its_type_and_default() {
        let settings = load(None, &[], &[crate::config::Cpu { core: 0, numa_node: 0 }])
            .expect("defaults")
            .broker_settings();
        for line in KEYS.lines() {
            let [name, kind, default] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
            let found = settings.iter().find(|setting| setting.name == name);
            let found = found.unwrap_or_else(|| panic!("no row for {name}"));
            if DIFFERENT.iter().all(|(different, _)| *different != name) {
                assert_eq!(found.kind.name(), kind, "{name}");
                assert_eq!(found.default.as_deref().unwrap_or_default(), default, "{name}");
            }
        }
    }

    #[test]
    fn kafkas_keys_are_sorted_and_what_is_not_supported_keeps_its_default() {
        assert!(KAFKA.is_sorted_by(|a, b| a.name < b.name));
        for row in TABLE.iter() {
            if let Kind::Kafka { of, stance, .. } = row.kind {
                assert!(row.default.is_empty() || of.reads(row.default), "{}", row.name);
                assert_eq!(row.accepts("x").is_ok(), stance == NotActedOn && of.reads("x"), "{}", row.name);
                assert_eq!(row.accepts(row.default), Ok(()), "{}", row.name);
            }
        }
    }
}
