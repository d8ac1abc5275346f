//! What was measured, for people and for scripts: the same figures as columns and as JSON, each beside what was asked for.

use super::driver::{Figures, LATENCY_DIGITS};
use super::machine;
use crate::table::Table;
use base::BLOCK_BYTES;
use base::size::Size;
use serde_json::{Value, json};
use std::time::Duration;

/// All of one run.
#[derive(Debug)]
pub struct Report {
    /// Where it was measured: an address or a volume.
    pub place: String,
    /// Whether that was made for the occasion.
    pub is_own: bool,
    /// Bytes that were touched, from the front.
    pub size: Size,
    /// What the requests follow from.
    pub seed: u64,
    /// The machine's load before anything was started.
    pub load_1min: Option<f64>,
    /// One for each row.
    pub rows: Vec<Figures>,
    /// Blocks that were read back and right.
    pub compared: Option<u64>,
}

impl Figures {
    fn ios(&self) -> u64 {
        self.reads + self.writes
    }

    fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.took.as_secs_f64().max(1e-9)
    }

    fn mib_per_s(&self) -> f64 {
        self.per_second(self.bytes) / f64::from(1 << 20)
    }

    /// What all but a part of the requests took at most, in microseconds.
    fn quantile_us(&self, part: f64) -> f64 {
        self.latency.value_at_quantile(part).min(self.longest.as_nanos() as u64) as f64 / 1000.0
    }

    fn cpu_us(&self) -> Option<f64> {
        self.busy_us.map(|us| us as f64 / self.ios().max(1) as f64)
    }

    fn json(&self) -> Value {
        let shape = self.row.shape();
        json!({
            "row": self.row.name(),
            "request_bytes": shape.blocks * BLOCK_BYTES as u64,
            "depth": shape.depth,
            "read_percent": shape.reads,
            "is_random": shape.is_random,
            "asked_s": self.asked.map(|asked| asked.as_secs()),
            "took_s": rounded(self.took.as_secs_f64(), 1000.0),
            "reads": self.reads,
            "writes": self.writes,
            "iops": rounded(self.per_second(self.ios()), 10.0),
            "mib_per_s": rounded(self.mib_per_s(), 100.0),
            "latency_mean_us": rounded(self.latency.mean() / 1000.0, 10.0),
            "latency_p50_us": rounded(self.quantile_us(0.5), 10.0),
            "latency_p99_us": rounded(self.quantile_us(0.99), 10.0),
            "latency_p99_9_us": rounded(self.quantile_us(0.999), 10.0),
            "latency_max_us": rounded(micros(self.longest), 10.0),
            "machine_cpu_us_per_io": self.cpu_us().map(|us| rounded(us, 10.0)),
        })
    }

    fn cells(&self) -> Vec<String> {
        let shape = self.row.shape();
        let mib = self.mib_per_s();
        vec![
            self.row.name(),
            Size(shape.blocks * BLOCK_BYTES as u64).to_string(),
            shape.depth.to_string(),
            self.asked.map_or("-".into(), |asked| format!("{} s", asked.as_secs())),
            format!("{:.0}", self.per_second(self.ios())),
            if mib < 10.0 { format!("{mib:.1}") } else { format!("{mib:.0}") },
            format!("{:.0}", self.latency.mean() / 1000.0),
            format!("{:.0}", self.quantile_us(0.5)),
            format!("{:.0}", self.quantile_us(0.99)),
            format!("{:.0}", self.quantile_us(0.999)),
            format!("{:.0}", micros(self.longest)),
            self.cpu_us().map_or("-".into(), |us| format!("{us:.1}")),
        ]
    }
}

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1000.0
}

/// To as many decimals as a figure is worth.
fn rounded(figure: f64, parts: f64) -> f64 {
    (figure * parts).round() / parts
}

/// A time in a histogram is at most so much too great, as a part of itself.
fn latency_error() -> f64 {
    10f64.powi(-i32::from(LATENCY_DIGITS))
}

impl Report {
    /// For scripts.
    pub fn json(&self) -> Value {
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "place": self.place,
            "own_region": self.is_own,
            "size_bytes": self.size.0,
            "seed": self.seed,
            "processors": machine::processors(),
            "load_1min_before": self.load_1min,
            "latency_relative_error": latency_error(),
            "rows": self.rows.iter().map(Figures::json).collect::<Vec<_>>(),
            "compared_blocks": self.compared,
        })
    }

    /// For people.
    pub fn text(&self) -> String {
        let head =
            ["ROW", "SIZE", "DEPTH", "FOR", "IOPS", "MiB/s", "MEAN us", "P50", "P99", "P99.9", "MAX", "CPU us/IO"];
        let mut table = Table::new(&head);
        self.rows.iter().for_each(|figures| table.row(figures.cells()));
        let load = self.load_1min.map_or(String::new(), |load| format!(", load before {load:.1}"));
        let mut text = format!(
            "{}: its first {}, seed {}; {} processors{load}\n\n{table}\n\
             Latencies are microseconds, each at most {} % too great but for MAX, which is exact. CPU is time of the whole machine.\n",
            self.place,
            self.size,
            self.seed,
            machine::processors(),
            latency_error() * 100.0,
        );
        if let Some(blocks) = self.compared {
            text.push_str(&format!("All {blocks} blocks that were written hold what was last written to them.\n"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::rows::Row;
    use hdrhistogram::Histogram;

    fn report() -> Report {
        let mut latency = Histogram::new_with_bounds(1, 600_000_000_000, LATENCY_DIGITS).unwrap();
        latency.record_n(1_000_000, 990).unwrap();
        latency.record_n(5_000_000, 9).unwrap();
        latency.record(70_123_456).unwrap();
        let figures = Figures {
            row: Row::Mixed,
            asked: Some(Duration::from_secs(2)),
            took: Duration::from_millis(2500),
            reads: 700,
            writes: 300,
            bytes: 1000 << 12,
            latency,
            longest: Duration::from_nanos(70_123_456),
            busy_us: Some(250_000),
        };
        let (place, size) = ("vol-1".into(), Size(64 << 20));
        Report { place, is_own: true, size, seed: 3, load_1min: Some(0.25), rows: vec![figures], compared: Some(16384) }
    }

    #[test]
    fn every_figure_is_in_json_under_a_name_that_has_its_unit() {
        let json = report().json();
        assert_eq!(json["size_bytes"], 64 << 20);
        assert_eq!((&json["seed"], &json["compared_blocks"]), (&json!(3), &json!(16384)));
        assert_eq!(json["latency_relative_error"], json!(0.001));
        let row = &json["rows"][0];
        assert_eq!((&row["row"], &row["depth"]), (&json!("mixed-70-30-qd32"), &json!(32)));
        assert_eq!((&row["reads"], &row["writes"], &row["asked_s"]), (&json!(700), &json!(300), &json!(2)));
        assert_eq!((&row["iops"], &row["mib_per_s"]), (&json!(400.0), &json!(1.56)));
        assert_eq!(row["machine_cpu_us_per_io"], json!(250.0));
        assert_eq!(row["latency_max_us"], json!(70_123.5));
        for (name, exact) in [("latency_p50_us", 1000.0), ("latency_p99_us", 1000.0), ("latency_p99_9_us", 5000.0)] {
            let told = row[name].as_f64().unwrap();
            assert!(told >= exact && told <= exact * 1.001, "{name}: {told}");
        }
        let mean = row["latency_mean_us"].as_f64().unwrap();
        assert!((mean - 1105.1).abs() < 1.2, "{mean}");
    }

    #[test]
    fn people_see_the_same_beside_what_was_asked_for() {
        let text = report().text();
        assert!(text.starts_with("vol-1: its first 64MiB, seed 3; "), "{text}");
        let line = text.lines().find(|line| line.starts_with("mixed-70-30-qd32")).unwrap();
        let cells: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(cells[..7], ["mixed-70-30-qd32", "4KiB", "32", "2", "s", "400", "1.6"], "{line}");
        assert_eq!(cells.last(), Some(&"250.0"));
        assert!(text.contains("All 16384 blocks"), "{text}");
    }
}
