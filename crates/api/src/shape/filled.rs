//! Answers with something in every member, so that a client can be asked whether it finds all of it.

use crate::timestamp::Timestamp;

/// A value with everything in it that can be.
pub(crate) trait Filled {
    /// Makes it.
    fn filled() -> Self;
}

macro_rules! with {
    ($($kind:ty: $value:expr;)*) => {$(
        impl Filled for $kind {
            fn filled() -> Self {
                $value
            }
        }
    )*};
}

// `xtask/aws-model/clients.py` expects these.
with! {
    String: "a <b> & \"c\"\né".into();
    i32: 7;
    i64: 8_000_000_000;
    bool: true;
    f64: 0.5;
    Timestamp: Timestamp(1_795_409_194_000);
    super::Done: super::Done;
}

impl<T: Filled> Filled for Option<T> {
    fn filled() -> Self {
        Some(T::filled())
    }
}

impl<T: Filled> Filled for Vec<T> {
    fn filled() -> Self {
        vec![T::filled()]
    }
}

impl<T: Filled> Filled for Box<T> {
    fn filled() -> Self {
        Self::new(T::filled())
    }
}
