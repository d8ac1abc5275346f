//! What AWS's volume types are here: how many copies, how much they may do, and in which bounds clients choose.
//!
//! Bounds are those of AWS's model and documentation (aws-api.md 1.3). Copies are ours: all types have three, `standard` has two, as in 2011.

use crate::{ApiError, Code};
use wire::Throttle;

const MIB: u64 = 1 << 20;

/// How the IOPS of a type follow.
#[derive(Debug, Clone, Copy)]
enum Iops {
    /// The client says how many, within these and so many a GiB at most; none said is this many, if that may be.
    Chosen { least: u32, most: u32, each_gib: u32, unsaid: Option<u32> },
    /// So many a GiB, at least and at most these. Clients may not choose.
    BySize { least: u32, most: u32, each_gib: u32 },
    /// Always this many. Clients may not choose, and are not told.
    Fixed(u32),
}

/// One type.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    gib: (u32, u32),
    copies: u8,
    iops: Iops,
}

const KINDS: [Kind; 7] = [
    Kind { name: "standard", gib: (1, 1024), copies: 2, iops: Iops::Fixed(200) },
    Kind { name: "gp2", gib: (1, 16_384), copies: 3, iops: Iops::BySize { least: 100, most: 16_000, each_gib: 3 } },
    Kind {
        name: "gp3",
        gib: (1, 65_536),
        copies: 3,
        iops: Iops::Chosen { least: 3000, most: 80_000, each_gib: 500, unsaid: Some(3000) },
    },
    Kind {
        name: "io1",
        gib: (4, 16_384),
        copies: 3,
        iops: Iops::Chosen { least: 100, most: 64_000, each_gib: 50, unsaid: None },
    },
    Kind {
        name: "io2",
        gib: (4, 65_536),
        copies: 3,
        iops: Iops::Chosen { least: 100, most: 256_000, each_gib: 1000, unsaid: None },
    },
    Kind { name: "st1", gib: (125, 16_384), copies: 3, iops: Iops::Fixed(500) },
    Kind { name: "sc1", gib: (125, 16_384), copies: 3, iops: Iops::Fixed(250) },
];

/// What a client said of its volume.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wish {
    pub(super) gib: i32,
    pub(super) iops: Option<i32>,
    pub(super) throughput: Option<i32>,
}

/// The type of that name.
pub(super) fn named(name: &str) -> Result<&'static Kind, ApiError> {
    KINDS.iter().find(|kind| kind.name == name).ok_or_else(|| {
        let what = format!("Unsupported volume type '{}' for volume creation.", crate::error::echo(name));
        ApiError::new(Code::UnknownVolumeType, what)
    })
}

impl Kind {
    pub(super) fn copies(&self) -> u8 {
        self.copies
    }

    /// Whether its throughput is the client's to choose, and is told.
    pub(super) fn tells_throughput(&self) -> bool {
        self.name == "gp3"
    }

    /// Whether its IOPS are the client's to choose.
    pub(super) fn takes_iops(&self) -> bool {
        matches!(self.iops, Iops::Chosen { .. })
    }

    /// Whether its IOPS are told.
    pub(super) fn tells_iops(&self) -> bool {
        !matches!(self.iops, Iops::Fixed(_))
    }

    /// What it may do at most; or what is wrong with the wish.
    pub(super) fn throttle(&self, wish: Wish) -> Result<Throttle, ApiError> {
        let gib = self.size(wish.gib)?;
        let iops = self.iops(gib, wish.iops)?;
        let bytes_per_s = self.throughput(gib, iops, wish.throughput)?;
        Ok(Throttle { iops: u64::from(iops), bytes_per_s })
    }

    fn size(&self, gib: i32) -> Result<u32, ApiError> {
        let (least, most) = self.gib;
        let wrong = |how: &str, bound: &str, limit: u32| {
            let what = format!("Volume of {gib}GiB is too {how} for volume type {}; {bound} is {limit}GiB.", self.name);
            Err(ApiError::new(Code::InvalidParameterValue, what))
        };
        match u32::try_from(gib).unwrap_or(0) {
            size if size < least => wrong("small", "minimum", least),
            size if size > most => wrong("large", "maximum", most),
            size => Ok(size),
        }
    }

    fn iops(&self, gib: u32, wanted: Option<i32>) -> Result<u32, ApiError> {
        let (least, most, each_gib, unsaid) = match self.iops {
            Iops::Chosen { least, most, each_gib, unsaid } => (least, most, each_gib, unsaid),
            _ if wanted.is_some() => return Err(ApiError::parameter_not_supported("iops", self.name)),
            Iops::BySize { least, most, each_gib } => return Ok((gib * each_gib).clamp(least, most)),
            Iops::Fixed(iops) => return Ok(iops),
        };
        let Some(wanted) = wanted else {
            return unsaid.ok_or_else(|| ApiError::missing_parameter("iops"));
        };
        let invalid = |what: String| Err(ApiError::new(Code::InvalidParameterValue, what));
        match u32::try_from(wanted).unwrap_or(0) {
            // Before the size is looked at: clients learn the limit of a type by asking for too much.
            iops if iops > most => Err(ApiError::iops_too_high(wanted, most)),
            iops if iops < least => invalid(format!("Volume iops of {wanted} is too low; minimum is {least}.")),
            iops if iops > least && iops > gib * each_gib => invalid(format!(
                "Iops to volume size ratio of {:.6} is too high; maximum is {each_gib}",
                f64::from(iops) / f64::from(gib)
            )),
            iops => Ok(iops),
        }
    }

    /// Bytes a second.
    fn throughput(&self, gib: u32, iops: u32, wanted: Option<i32>) -> Result<u64, ApiError> {
        let Some(wanted) = wanted else { return Ok(self.usual_throughput(gib, iops)) };
        if !self.tells_throughput() {
            let what = format!("The parameter throughput is not supported for {} volumes.", self.name);
            return Err(ApiError::new(Code::InvalidParameterDependency, what));
        }
        let invalid = |what: String| Err(ApiError::new(Code::InvalidParameterValue, what));
        match u32::try_from(wanted).unwrap_or(0) {
            t if t < 125 => invalid(format!("Throughput of {wanted} is too low; minimum is 125.")),
            t if t > 2000 => invalid(format!("Throughput of {wanted} is too high; maximum is 2000.")),
            // A quarter of a MiB for each of them.
            t if t * 4 > iops.max(500) => {
                let ratio = f64::from(t) / f64::from(iops);
                invalid(format!(
                    "Throughput (MiBps) to iops ratio of {ratio:.6} is too high; maximum is 0.250000 MiBps per iops."
                ))
            }
            t => Ok(u64::from(t) * MIB),
        }
    }

    fn usual_throughput(&self, gib: u32, iops: u32) -> u64 {
        // A TiB of a disk type moves so many MiB a second, up to its most.
        let by_tib = |each_tib: u64, most: u64| (u64::from(gib) * each_tib / 1024).clamp(1, most) * MIB;
        match self.name {
            "standard" => 90 * MIB,
            "gp2" if gib <= 170 => 128 * MIB,
            "gp2" => 250 * MIB,
            "gp3" => 125 * MIB,
            "io1" => (u64::from(iops) * MIB / 4).clamp(MIB, 1000 * MIB),
            "io2" => (u64::from(iops) * MIB / 4).clamp(MIB, 4000 * MIB),
            "st1" => by_tib(40, 500),
            _ => by_tib(12, 250),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throttle(name: &str, gib: i32, iops: Option<i32>, throughput: Option<i32>) -> Result<(u64, u64), String> {
        let may = named(name).and_then(|kind| kind.throttle(Wish { gib, iops, throughput }));
        may.map(|t| (t.iops, t.bytes_per_s / MIB)).map_err(|e| e.message)
    }

    #[test]
    fn every_type_does_what_it_does_at_aws() {
        for (name, gib, iops, expected) in [
            ("standard", 1, None, (200, 90)),
            ("gp2", 1, None, (100, 128)),
            ("gp2", 200, None, (600, 250)),
            ("gp2", 16_384, None, (16_000, 250)),
            ("gp3", 1, None, (3000, 125)),
            ("gp3", 100, Some(16_000), (16_000, 125)),
            ("io1", 4, Some(200), (200, 50)),
            ("io2", 1000, Some(256_000), (256_000, 4000)),
            ("st1", 500, None, (500, 19)),
            ("st1", 16_384, None, (500, 500)),
            ("sc1", 125, None, (250, 1)),
        ] {
            assert_eq!(throttle(name, gib, iops, None), Ok(expected), "{name} {gib}");
        }
        assert_eq!(throttle("gp3", 100, Some(8000), Some(2000)), Ok((8000, 2000)));
    }

    #[test]
    fn what_a_type_cannot_be_is_said_with_its_bound() {
        for (name, gib, iops, throughput, words) in [
            ("gp2", 16_385, None, None, "Volume of 16385GiB is too large for volume type gp2; maximum is 16384GiB."),
            ("st1", 1, None, None, "Volume of 1GiB is too small for volume type st1; minimum is 125GiB."),
            ("gp3", -1, None, None, "Volume of -1GiB is too small"),
            ("gp3", 1, Some(i32::MAX), None, "Volume iops of 2147483647 is too high; maximum is 80000."),
            ("io1", 4, Some(i32::MAX), None, "maximum is 64000."),
            ("gp3", 1, Some(10), None, "Volume iops of 10 is too low; minimum is 3000."),
            ("gp3", 10, Some(6000), None, "Iops to volume size ratio of 600.000000 is too high; maximum is 500"),
            ("io1", 4, None, None, "The request must contain the parameter iops"),
            ("gp2", 4, Some(100), None, "The parameter iops is not supported for gp2 volumes."),
            ("gp2", 4, None, Some(125), "The parameter throughput is not supported for gp2 volumes."),
            ("gp3", 4, None, Some(124), "too low; minimum is 125"),
            ("gp3", 4, None, Some(2001), "too high; maximum is 2000"),
            ("gp3", 4, None, Some(1000), "ratio of 0.333333 is too high; maximum is 0.250000"),
            ("gp9", 4, None, None, "Unsupported volume type 'gp9' for volume creation."),
        ] {
            let said = throttle(name, gib, iops, throughput).unwrap_err();
            assert!(said.contains(words), "{said}");
        }
    }
}
