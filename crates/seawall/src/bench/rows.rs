//! The workloads by name: what each asks for. They are those that fio is given when a volume is measured with it, so that figures can
//! stand side by side.

use clap::ValueEnum;

/// A workload. The order here is the order in which they run when none is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Row {
    /// Writes everything once from front to back: 1 MiB, 8 in flight; it ends when it is through
    Fill,
    /// Writes 4 KiB at random, one at a time
    WriteQd1,
    /// Writes 4 KiB at random, 32 in flight
    WriteQd32,
    /// Reads 4 KiB at random, one at a time
    ReadQd1,
    /// Reads 4 KiB at random, 32 in flight
    ReadQd32,
    /// Reads and writes 4 KiB at random, seven reads to three writes, 32 in flight
    #[value(name = "mixed-70-30-qd32")]
    Mixed,
    /// Writes 128 KiB from front to back and again, 8 in flight
    #[value(name = "seqwrite-128k")]
    SeqWrite,
    /// Reads 128 KiB from front to back and again, 8 in flight
    #[value(name = "seqread-128k")]
    SeqRead,
}

/// What a workload asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Blocks of 4 KiB in each request.
    pub blocks: u64,
    /// Requests in flight.
    pub depth: usize,
    /// How many of a hundred requests are reads.
    pub reads: u64,
    /// Whether requests go anywhere, or one behind the other.
    pub is_random: bool,
    /// Whether it ends when it has been everywhere, instead of when its time is over.
    pub is_once: bool,
}

impl Row {
    /// All of them.
    pub fn all() -> Vec<Self> {
        Self::value_variants().to_vec()
    }

    /// As it is written.
    pub fn name(self) -> String {
        self.to_possible_value().expect("no workload is hidden").get_name().to_string()
    }

    /// What it asks for.
    pub fn shape(self) -> Shape {
        let random = |depth, reads| Shape { blocks: 1, depth, reads, is_random: true, is_once: false };
        let row = |blocks, reads| Shape { blocks, depth: 8, reads, is_random: false, is_once: false };
        match self {
            Self::Fill => Shape { is_once: true, ..row(256, 0) },
            Self::WriteQd1 => random(1, 0),
            Self::WriteQd32 => random(32, 0),
            Self::ReadQd1 => random(1, 100),
            Self::ReadQd32 => random(32, 100),
            Self::Mixed => random(32, 70),
            Self::SeqWrite => row(32, 0),
            Self::SeqRead => row(32, 100),
        }
    }

    /// Whether it changes what is in the volume.
    pub fn writes(self) -> bool {
        self.shape().reads < 100
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_are_named_as_they_are_for_fio() {
        let names: Vec<String> = Row::all().into_iter().map(Row::name).collect();
        let expected = [
            "fill",
            "write-qd1",
            "write-qd32",
            "read-qd1",
            "read-qd32",
            "mixed-70-30-qd32",
            "seqwrite-128k",
            "seqread-128k",
        ];
        assert_eq!(names, expected);
        let silent: Vec<String> = Row::all().into_iter().filter(|row| !row.writes()).map(Row::name).collect();
        assert_eq!(silent, ["read-qd1", "read-qd32", "seqread-128k"]);
    }
}
