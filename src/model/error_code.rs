//! Kafka's error codes: number, name, retriable or not.
//!
//! Source: Kafka 4.0, `org.apache.kafka.common.protocol.Errors`. Only `handlers` chooses one.

macro_rules! error_codes {
    ($($(#[$meta:meta])* $name:ident = $number:literal, $retriable:literal;)*) => {
        /// An error as clients know it, by its number on the wire.
        #[allow(missing_docs, reason = "the names are Kafka's own and say what they mean")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(i16)]
        pub enum ErrorCode { $($(#[$meta])* $name = $number,)* }

        impl ErrorCode {
            /// All codes this broker knows, ascending.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Whether a client may send the same request again and expect another answer.
            #[must_use]
            pub const fn is_retriable(self) -> bool {
                match self { $(Self::$name => $retriable,)* }
            }

            /// The code of that number.
            #[must_use]
            pub const fn from_number(number: i16) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }
        }
    };
}

error_codes! {
    UnknownServerError = -1, false;
    None = 0, false;
    OffsetOutOfRange = 1, false;
    CorruptMessage = 2, true;
    UnknownTopicOrPartition = 3, true;
    InvalidFetchSize = 4, false;
    LeaderNotAvailable = 5, true;
    NotLeaderOrFollower = 6, true;
    RequestTimedOut = 7, true;
    BrokerNotAvailable = 8, false;
    ReplicaNotAvailable = 9, true;
    MessageTooLarge = 10, false;
    OffsetMetadataTooLarge = 12, false;
    NetworkException = 13, true;
    CoordinatorLoadInProgress = 14, true;
    CoordinatorNotAvailable = 15, true;
    NotCoordinator = 16, true;
    InvalidTopicException = 17, false;
    RecordListTooLarge = 18, false;
    NotEnoughReplicas = 19, true;
    NotEnoughReplicasAfterAppend = 20, true;
    InvalidRequiredAcks = 21, false;
    IllegalGeneration = 22, false;
    InconsistentGroupProtocol = 23, false;
    InvalidGroupId = 24, false;
    UnknownMemberId = 25, false;
    InvalidSessionTimeout = 26, false;
    RebalanceInProgress = 27, false;
    InvalidCommitOffsetSize = 28, false;
    TopicAuthorizationFailed = 29, false;
    GroupAuthorizationFailed = 30, false;
    ClusterAuthorizationFailed = 31, false;
    InvalidTimestamp = 32, false;
    UnsupportedSaslMechanism = 33, false;
    IllegalSaslState = 34, false;
    UnsupportedVersion = 35, false;
    TopicAlreadyExists = 36, false;
    InvalidPartitions = 37, false;
    InvalidReplicationFactor = 38, false;
    InvalidReplicaAssignment = 39, false;
    InvalidConfig = 40, false;
    NotController = 41, true;
    InvalidRequest = 42, false;
    UnsupportedForMessageFormat = 43, false;
    PolicyViolation = 44, false;
    OutOfOrderSequenceNumber = 45, false;
    DuplicateSequenceNumber = 46, false;
    InvalidProducerEpoch = 47, false;
    InvalidTxnState = 48, false;
    InvalidProducerIdMapping = 49, false;
    InvalidTransactionTimeout = 50, false;
    ConcurrentTransactions = 51, true;
    TransactionCoordinatorFenced = 52, false;
    TransactionalIdAuthorizationFailed = 53, false;
    SecurityDisabled = 54, false;
    OperationNotAttempted = 55, false;
    KafkaStorageError = 56, true;
    LogDirNotFound = 57, false;
    SaslAuthenticationFailed = 58, false;
    UnknownProducerId = 59, false;
    ReassignmentInProgress = 60, false;
    NonEmptyGroup = 68, false;
    GroupIdNotFound = 69, false;
    FetchSessionIdNotFound = 70, true;
    InvalidFetchSessionEpoch = 71, true;
    ListenerNotFound = 72, true;
    TopicDeletionDisabled = 73, false;
    FencedLeaderEpoch = 74, true;
    UnknownLeaderEpoch = 75, true;
    UnsupportedCompressionType = 76, false;
    StaleBrokerEpoch = 77, false;
    OffsetNotAvailable = 78, true;
    MemberIdRequired = 79, false;
    PreferredLeaderNotAvailable = 80, true;
    GroupMaxSizeReached = 81, false;
    FencedInstanceId = 82, false;
    EligibleLeadersNotAvailable = 83, true;
    ElectionNotNeeded = 84, true;
    NoReassignmentInProgress = 85, false;
    GroupSubscribedToTopic = 86, false;
    InvalidRecord = 87, false;
    UnstableOffsetCommit = 88, true;
    ThrottlingQuotaExceeded = 89, true;
    ProducerFenced = 90, false;
    ResourceNotFound = 91, false;
    DuplicateResource = 92, false;
    InconsistentVoterSet = 94, false;
    FeatureUpdateFailed = 96, false;
    UnknownTopicId = 100, true;
    InconsistentTopicId = 103, true;
    FetchSessionTopicIdError = 106, true;
    FencedMemberEpoch = 110, false;
    UnreleasedInstanceId = 111, false;
    UnsupportedAssignor = 112, false;
    StaleMemberEpoch = 113, false;
    MismatchedEndpointType = 114, false;
    UnsupportedEndpointType = 115, false;
    InvalidRegularExpression = 128, false;
}

impl ErrorCode {
    /// The number as it stands on the wire.
    #[must_use]
    pub const fn number(self) -> i16 {
        self as i16
    }

    /// Kafka's name, as `UNKNOWN_TOPIC_OR_PARTITION`.
    #[must_use]
    pub fn name(self) -> String {
        let mut name = String::new();
        for c in format!("{self:?}").chars() {
            if c.is_ascii_uppercase() && !name.is_empty() {
                name.push('_');
            }
            name.push(c.to_ascii_uppercase());
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_reads_back_from_its_number_and_has_kafkas_name() {
        for &code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_number(code.number()), Some(code));
        }
        assert_eq!(ErrorCode::UnknownTopicOrPartition.name(), "UNKNOWN_TOPIC_OR_PARTITION");
        assert_eq!(ErrorCode::from_number(9999), None);
    }
}
