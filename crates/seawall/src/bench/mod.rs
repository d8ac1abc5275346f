//! `seawall bench`: how fast one attached volume is, by workloads that can be repeated to the byte.
//!
//! Without a volume it makes one, in a region of its own in a temporary folder, and removes both. It overwrites what it measures, so a
//! volume that was there before is touched only when that is allowed by name, or when nothing is written. Where anything is written, all that is touched
//! is written once first, so that no read meets a block that nobody wrote and no row depends on which rows were before it.

mod driver;
mod machine;
pub mod place;
mod report;
pub mod rows;
#[cfg(test)]
mod tests;
mod workload;

use crate::args::Bench;
use crate::operate;
use crate::refusal::{Code, Refusal};
use crate::temporary::{self, Region, Wish};
use base::size::Size;
use base::{BLOCK_BYTES, VolumeId};
use driver::{Driver, STUCK_AFTER};
use frontend::nbd::client::{Client, Error};
use place::{Address, Place};
use report::Report;
use rows::Row;
use std::io::IsTerminal as _;
use std::path::Path;
use std::time::Duration;
use workload::Workload;

/// What sizes are multiples of: the largest request of any row.
pub const GRAIN: Size = Size(1 << 20);
/// The most that is touched: for each block it is remembered what must be in it.
pub const SIZE_MAX: Size = Size(256 << 30);
/// What is touched unless it is said otherwise.
const SIZE: Size = Size(512 << 20);
/// Nodes of a region of its own: one for each copy.
const NODES: u16 = 3;

/// What is to be done, wherever it is done.
#[derive(Debug, Clone)]
struct Plan {
    rows: Vec<Row>,
    time: Duration,
    size: Option<Size>,
    seed: u64,
    verify: bool,
    /// Whether everything is written once before.
    fills: bool,
    load_1min: Option<f64>,
}

/// Runs it.
pub fn run(args: &Bench) -> Result<(), Refusal> {
    let rows = if args.rows.is_empty() { Row::all() } else { args.rows.clone() };
    let fills = args.place.is_none() || rows.iter().any(|row| row.writes());
    if args.verify && !fills {
        crate::args::wrong_usage("none of these rows writes, so --verify has nothing to compare");
    }
    let (time, load_1min) = (Duration::from_secs(args.seconds), machine::load_1min());
    let plan = Plan { rows, time, size: args.size, seed: args.seed, verify: args.verify, fills, load_1min };
    let report = match &args.place {
        None => in_its_own_region(args.server.as_deref(), plan)?,
        Some(Place::Address(address)) => {
            let client = address.open().map_err(|e| unopened(address, &e))?;
            let size = touched(plan.size, client.size(), &address.to_string())?;
            may_overwrite(args, &plan, size, || format!("the export {address} ({})", Size(client.size())))?;
            measure(client, address.to_string(), size, plan)?
        }
        Some(Place::Volume(volume)) => volume_of_a_region(args, *volume, plan)?,
    };
    crate::say(&if args.target.json { format!("{}\n", report.json()) } else { report.text() });
    Ok(())
}

/// How much of a volume is touched.
fn touched(wanted: Option<Size>, has: u64, name: &str) -> Result<Size, Refusal> {
    let whole = Size(has - has % GRAIN.0);
    let size = wanted.unwrap_or(SIZE.min(whole));
    if size > whole || size.0 == 0 {
        let least = Size(size.0.max(GRAIN.0));
        let text = format!(
            "{name} has {} and {least} are to be measured; choose a smaller --size or a larger volume",
            Size(has)
        );
        return Err(Refusal::new(Code::Export, text));
    }
    Ok(size)
}

/// Refuses unless nothing is lost, or may be.
fn may_overwrite(args: &Bench, plan: &Plan, size: Size, what: impl Fn() -> String) -> Result<(), Refusal> {
    if args.overwrite || !plan.fills {
        return Ok(());
    }
    let text = format!(
        "the first {size} of {} would be overwritten, and what is there lost; give --overwrite to let that happen, \
         --rows read-qd1,read-qd32,seqread-128k to write nothing, or no volume to measure one made for it",
        what()
    );
    Err(Refusal::new(Code::Overwrite, text))
}

fn unopened(address: &Address, error: &Error) -> Refusal {
    let text = format!(
        "{address} cannot be opened: {error}; attach the volume and give the address that `seawall attach` prints"
    );
    Refusal::new(Code::Export, text)
}

/// A volume that the region in a folder has. It is detached afterwards if it was before.
fn volume_of_a_region(args: &Bench, volume: VolumeId, plan: Plan) -> Result<Report, Refusal> {
    let target = &args.target;
    let state = operate::show(target, volume)?;
    let name = volume.to_string();
    let size = touched(plan.size, state.info.size, &name)?;
    may_overwrite(args, &plan, size, || {
        let attached = state.attached.map_or("not attached".into(), |host| format!("attached to {host}"));
        format!("{volume} ({}, {attached})", Size(state.info.size))
    })?;
    let reply = operate::attach_volume(target, volume, None, false)?;
    let measured = Client::connect_unix(&reply.socket, volume)
        .map_err(|e| {
            let text = format!("{volume} cannot be opened at {}: {e}; see whether its host runs here", reply.socket);
            Refusal::new(Code::Export, text)
        })
        .and_then(|client| measure(client, name, size, plan));
    let detached = if state.attached.is_none() { operate::detach_volume(target, volume).map(drop) } else { Ok(()) };
    // What failed first is what matters.
    measured.and_then(|report| detached.map(|()| report))
}

/// A volume of a region that exists for as long as it is measured.
fn in_its_own_region(program: Option<&Path>, mut plan: Plan) -> Result<Report, Refusal> {
    let size = plan.size.unwrap_or(SIZE);
    plan.size = Some(size);
    // The volume, as much again for what is overwritten, and what a store keeps back.
    let node_size = Size(2 * size.0 + (1 << 30));
    let dir = temporary::folder("bench", runtime::entropy_u64(), u64::from(NODES) * node_size.0)?;
    progress(&format!("a region of {NODES} nodes in {}", dir.display()));
    let outcome = measure_new(&dir, &Wish { program, nodes: NODES, node_size, options: &[] }, size, plan);
    temporary::park_if_interrupted();
    let report = outcome.map_err(|refusal| {
        let text = format!("{}; its folder is kept, with the logs of all processes: {}", refusal.text, dir.display());
        Refusal::new(refusal.code, text)
    })?;
    std::fs::remove_dir_all(&dir).map_err(|e| Refusal::file("remove", &dir, &e))?;
    Ok(report)
}

fn measure_new(dir: &Path, wish: &Wish<'_>, size: Size, plan: Plan) -> Result<Report, Refusal> {
    let region = Region::start(dir.to_path_buf(), wish)?;
    // Through the region's own build: another one's messages need not be ours, and its command line is what people rely on.
    let volume = region.ask(&["volume", "create", &size.to_string()])?;
    let address = region.ask(&["attach", &volume])?;
    let address: Address = address.parse().map_err(|why: String| Refusal::new(Code::Protocol, why))?;
    let client = address.open().map_err(|e| unopened(&address, &e))?;
    let report = measure(client, format!("a new volume on {NODES} new nodes"), size, plan)?;
    region.stop()?;
    Ok(Report { is_own: true, ..report })
}

/// Runs all rows over one connection.
fn measure(client: Client, place: String, size: Size, plan: Plan) -> Result<Report, Refusal> {
    let blocks = size.0 / BLOCK_BYTES as u64;
    let mut driver = Driver::new(client, plan.seed, blocks, STUCK_AFTER)?;
    let mut run = |turn, row: Row| {
        let time = (!row.shape().is_once).then_some(plan.time);
        driver.run(row, Workload::new(row, turn, plan.seed, blocks), time)
    };
    if plan.fills && plan.rows.first() != Some(&Row::Fill) {
        progress(&format!("{size} are written once, unmeasured"));
        run(0, Row::Fill)?;
    }
    let mut rows = Vec::new();
    for (turn, row) in (1..).zip(plan.rows) {
        progress(&row.name());
        rows.push(run(turn, row)?);
    }
    let compared = if plan.verify {
        progress("everything that was written is read and compared");
        Some(driver.compare()?)
    } else {
        None
    };
    driver.close()?;
    Ok(Report { place, is_own: false, size, seed: plan.seed, load_1min: plan.load_1min, rows, compared })
}

/// What is under way, for whoever watches.
fn progress(line: &str) {
    if std::io::stderr().is_terminal() {
        eprintln!("{line} ..");
    }
}
