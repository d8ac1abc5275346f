//! What the whole machine was busy with, by its own account: the work for one I/O is spread over clients, hosts and nodes, and only
//! all of it together can be compared.

use crate::process;

/// Processor time of all processors so far, in microseconds: user, nice, system, interrupts (proc_stat(5)). Not idle, not waiting for
/// a disk, not stolen by other machines. None where nobody counts it.
pub fn busy_us() -> Option<u64> {
    busy(&std::fs::read_to_string("/proc/stat").ok()?, process::clock_ticks_per_s()?)
}

fn busy(stat: &str, ticks_per_s: u64) -> Option<u64> {
    let mut words = stat.lines().next()?.split_whitespace();
    if words.next()? != "cpu" {
        return None;
    }
    let ticks: Vec<u64> = words.map_while(|word| word.parse().ok()).collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, ..] = ticks[..] else { return None };
    Some((user + nice + system + irq + softirq) * 1_000_000 / ticks_per_s)
}

/// How many processes wanted a processor, on average over the last minute (proc_loadavg(5)).
pub fn load_1min() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

/// Processors that this process may use.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_worked_is_counted() {
        let stat = "cpu  100 20 30 5000 7000 4 6 900 10 11\ncpu0 1 2 3 4 5 6 7 8 9 10\n";
        assert_eq!(busy(stat, 100), Some(1_600_000));
        assert_eq!(busy("cpu  100 20 30", 100), None);
        assert_eq!(busy("intr 1 2 3 4 5 6 7 8", 100), None);
        assert_eq!(busy("", 100), None);
    }

    #[test]
    fn this_machine_counts() {
        let before = busy_us().unwrap();
        assert!(busy_us().unwrap() >= before && load_1min().is_some() && processors() > 0);
    }
}
