//! Every error code that is ever answered, in one table: its name on the wire and its HTTP status.
//!
//! Clients act on the names and retry on the statuses, so both are fixed here and nowhere else. A refusal of what was asked is 4xx without
//! exception: every client library repeats what was answered with 5xx.

macro_rules! codes {
    ($($code:ident $wire:literal $status:literal;)*) => {
        /// An error code. Named as on the wire, without the dots.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = concat!("`", $wire, "`, HTTP ", stringify!($status), ".")] $code,)*
        }

        impl Code {
            /// All of them, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$code),*];

            /// The name that clients see.
            pub const fn wire(self) -> &'static str {
                match self { $(Self::$code => $wire,)* }
            }

            /// The HTTP status that goes with it.
            pub const fn status(self) -> u16 {
                match self { $(Self::$code => $status,)* }
            }
        }
    };
}

// What the request itself is wrong about, and who sent it. Real EC2 answers AuthFailure with 401, whatever its documentation says.
codes! {
    AuthFailure "AuthFailure" 401;
    Blocked "Blocked" 403;
    DryRunOperation "DryRunOperation" 412;
    IdempotentParameterMismatch "IdempotentParameterMismatch" 400;
    IncompleteSignature "IncompleteSignature" 400;
    InvalidAction "InvalidAction" 400;
    InvalidCharacter "InvalidCharacter" 400;
    InvalidClientTokenId "InvalidClientTokenId" 403;
    InvalidId "InvalidID" 400;
    InvalidPaginationToken "InvalidPaginationToken" 400;
    InvalidParameter "InvalidParameter" 400;
    InvalidParameterCombination "InvalidParameterCombination" 400;
    InvalidParameterDependency "InvalidParameterDependency" 400;
    InvalidParameterValue "InvalidParameterValue" 400;
    InvalidQueryParameter "InvalidQueryParameter" 400;
    MalformedQueryString "MalformedQueryString" 400;
    MissingAction "MissingAction" 400;
    MissingAuthenticationToken "MissingAuthenticationToken" 403;
    MissingParameter "MissingParameter" 400;
    OperationNotPermitted "OperationNotPermitted" 400;
    OptInRequired "OptInRequired" 403;
    PendingVerification "PendingVerification" 400;
    RequestExpired "RequestExpired" 400;
    SignatureDoesNotMatch "SignatureDoesNotMatch" 403;
    UnauthorizedOperation "UnauthorizedOperation" 403;
    UnknownParameter "UnknownParameter" 400;
    UnsupportedInstanceAttribute "UnsupportedInstanceAttribute" 400;
    UnsupportedOperation "UnsupportedOperation" 400;
    UnsupportedProtocol "UnsupportedProtocol" 400;
    ValidationError "ValidationError" 400;

    IncorrectModificationState "IncorrectModificationState" 400;
    IncorrectState "IncorrectState" 400;
    InvalidAttachmentNotFound "InvalidAttachment.NotFound" 400;
    InvalidVolumeNotFound "InvalidVolume.NotFound" 400;
    InvalidVolumeZoneMismatch "InvalidVolume.ZoneMismatch" 400;
    InvalidVolumeIdMalformed "InvalidVolumeID.Malformed" 400;
    InvalidVolumeModificationNotFound "InvalidVolumeModification.NotFound" 400;
    InvalidZoneNotFound "InvalidZone.NotFound" 400;
    UnknownVolumeType "UnknownVolumeType" 400;
    VolumeInUse "VolumeInUse" 400;
    VolumeTypeNotAvailableInZone "VolumeTypeNotAvailableInZone" 400;

    AttachmentLimitExceeded "AttachmentLimitExceeded" 400;
    MaxIopsLimitExceeded "MaxIOPSLimitExceeded" 400;
    TagLimitExceeded "TagLimitExceeded" 400;
    VolumeLimitExceeded "VolumeLimitExceeded" 400;
    VolumeModificationRateExceeded "VolumeModificationRateExceeded" 400;
    VolumeModificationSizeLimitExceeded "VolumeModificationSizeLimitExceeded" 400;

    ConcurrentSnapshotLimitExceeded "ConcurrentSnapshotLimitExceeded" 400;
    FastSnapshotRestoreLimitExceeded "FastSnapshotRestoreLimitExceeded" 400;
    InvalidSnapshotInUse "InvalidSnapshot.InUse" 400;
    InvalidSnapshotNotFound "InvalidSnapshot.NotFound" 400;
    InvalidSnapshotIdMalformed "InvalidSnapshotID.Malformed" 400;
    PendingSnapshotLimitExceeded "PendingSnapshotLimitExceeded" 400;
    ResourceLimitExceeded "ResourceLimitExceeded" 400;
    SnapshotCreationPerVolumeRateExceeded "SnapshotCreationPerVolumeRateExceeded" 400;
    SnapshotLimitExceeded "SnapshotLimitExceeded" 400;

    IncorrectInstanceState "IncorrectInstanceState" 400;
    InstanceLimitExceeded "InstanceLimitExceeded" 400;
    InvalidAmiIdMalformed "InvalidAMIID.Malformed" 400;
    InvalidAmiIdNotFound "InvalidAMIID.NotFound" 400;
    InvalidAmiAttributeItemValue "InvalidAMIAttributeItemValue" 400;
    InvalidBlockDeviceMapping "InvalidBlockDeviceMapping" 400;
    InvalidInstanceIdMalformed "InvalidInstanceID.Malformed" 400;
    InvalidInstanceIdNotFound "InvalidInstanceID.NotFound" 400;
    InvalidInstanceType "InvalidInstanceType" 400;
    InvalidKeyPairDuplicate "InvalidKeyPair.Duplicate" 400;
    InvalidKeyPairFormat "InvalidKeyPair.Format" 400;
    InvalidKeyPairNotFound "InvalidKeyPair.NotFound" 400;

    InsufficientInstanceCapacity "InsufficientInstanceCapacity" 500;
    InsufficientVolumeCapacity "InsufficientVolumeCapacity" 503;
    InternalError "InternalError" 500;
    InternalFailure "InternalFailure" 500;
    RequestLimitExceeded "RequestLimitExceeded" 503;
    ServiceUnavailable "ServiceUnavailable" 503;
    Unavailable "Unavailable" 503;
}

#[cfg(test)]
mod tests {
    use super::Code;

    #[test]
    fn no_name_stands_twice_and_a_code_is_named_like_its_name_on_the_wire() {
        let mut names: Vec<_> = Code::ALL.iter().map(|code| code.wire()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
        for code in Code::ALL {
            assert_eq!(format!("{code:?}").to_lowercase(), code.wire().replace('.', "").to_lowercase());
        }
    }

    #[test]
    fn only_what_may_be_tried_again_is_a_fault_of_the_server() {
        let server = Code::ALL.iter().filter(|code| code.status() >= 500).map(|code| code.wire());
        assert_eq!(
            server.collect::<Vec<_>>(),
            [
                "InsufficientInstanceCapacity",
                "InsufficientVolumeCapacity",
                "InternalError",
                "InternalFailure",
                "RequestLimitExceeded",
                "ServiceUnavailable",
                "Unavailable"
            ]
        );
        assert!(Code::ALL.iter().all(|code| (400..=503).contains(&code.status())));
    }
}
