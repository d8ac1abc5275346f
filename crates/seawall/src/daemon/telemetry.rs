//! What the region's process tells its operators: a page of metrics on a listener of its own, and a line of log for what changed something or failed.
//!
//! Both threads that answer requests count here, each for less than a microsecond at a time; the page is made of a copy.

use super::cannot_start;
use crate::refusal::Refusal;
use api::serve::Written;
use api::telemetry::{self, Counter, Metrics};
use base::Time;
use region::Region;
use runtime::StartError;
use runtime::http::{self, Answer, Reply, Request, Server};
use runtime::log::Queue;
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Lines about requests in a second, at most.
const LINES_PER_S_MAX: u64 = 100;
/// Where the page is.
pub const PATH: &str = "/metrics";

/// Counts and logs.
pub struct Telemetry {
    metrics: Mutex<Metrics>,
    log: Queue,
}

impl Telemetry {
    /// Nothing has been counted.
    pub fn new(me: &dyn Display, metrics: Metrics) -> Result<Self, StartError> {
        Ok(Self { metrics: Mutex::new(metrics), log: Queue::new(me, LINES_PER_S_MAX)? })
    }

    /// An answer goes out to a request that was there at `begun`.
    pub fn answered(&self, written: &Written, request_id: &str, begun: Time) {
        let took = runtime::monotonic().since(begun);
        self.metrics().count(written, took);
        if let Some(line) = telemetry::line(written, request_id, took) {
            self.log.say(line);
        }
    }

    /// Looks at how full the region is.
    pub fn look(&self, region: &Region) {
        self.metrics().look(region);
    }

    /// Counts are whole whoever fell while it counted.
    fn metrics(&self) -> MutexGuard<'_, Metrics> {
        self.metrics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn page(&self, turned_away: u64) -> String {
        let metrics = self.metrics().clone();
        metrics.text(&[
            Counter {
                name: "seawall_api_connections_refused_total",
                help: "Connections to the API that found no place; what they would have asked is counted nowhere.",
                value: turned_away,
            },
            Counter {
                name: "seawall_log_lines_left_out_total",
                help: "Lines about requests that were not logged because there were too many.",
                value: self.log.left_out(),
            },
        ])
    }
}

/// Serves the page, to this computer alone: whoever reads it needs no signature.
pub fn serve(
    at: SocketAddr,
    telemetry: Arc<Telemetry>,
    turned_away: Arc<AtomicU64>,
    who: &str,
) -> Result<Server, Refusal> {
    let setup = http::Setup { connections_max: 16, body_bytes_max: 4 << 10, ..http::Setup::new(at) };
    let handler = move |request: Request, answer: Answer| {
        answer.send(match (request.method.as_str(), request.path.as_str()) {
            ("GET" | "HEAD", PATH) => {
                let headers = vec![("content-type", telemetry::CONTENT_TYPE.to_string())];
                Reply { status: 200, headers, body: telemetry.page(turned_away.load(Relaxed)).into() }
            }
            (_, PATH) => Reply { headers: vec![("allow", "GET, HEAD".into())], ..Reply::empty(405) },
            _ => Reply::empty(404),
        });
    };
    http::serve(setup, handler).map_err(|e| cannot_start(&format!("{who}, its metrics,"), &e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::front::{Front, Signed};
    use base::ZoneNumber;
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    fn ask(server: &Server, request: &str) -> String {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn the_page_is_read_over_http_without_a_signature_and_nothing_else_is_there() {
        let metrics = Metrics::new("local-1", vec![("local-1a".into(), ZoneNumber(0))]);
        let telemetry = Arc::new(Telemetry::new(&"test", metrics).unwrap());
        let turned_away = Arc::new(AtomicU64::new(3));
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = serve(any, telemetry.clone(), turned_away, "test").unwrap();
        let unsigned = Signed { method: "GET", path: "/", query: "", headers: &[], body: b"" };
        let refused = Front::new("local-1", []).read(&unsigned, 0, "r").unwrap_err();
        telemetry.answered(&refused, "r", runtime::monotonic());
        let page = ask(&server, "GET /metrics");
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
        assert!(page.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{page}");
        for line in [
            "seawall_api_requests_total{operation=\"unknown\",operation_class=\"unknown\",outcome=\"client_error\"} 1\n",
            "seawall_api_errors_total{operation=\"unknown\",code=\"",
            "seawall_api_connections_refused_total 3\n",
            "seawall_log_lines_left_out_total 0\n",
        ] {
            assert!(page.contains(line), "{line} in {page}");
        }
        assert!(!ask(&server, "HEAD /metrics").contains("seawall_api"));
        assert!(ask(&server, "POST /metrics").starts_with("HTTP/1.1 405 "));
        assert!(ask(&server, "GET /").starts_with("HTTP/1.1 404 "));
    }

    #[test]
    fn the_page_is_not_served_to_other_computers() {
        let telemetry = Telemetry::new(&"test", Metrics::new("local-1", Vec::new())).unwrap();
        let everywhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let refusal = serve(everywhere, Arc::new(telemetry), Arc::default(), "region x").unwrap_err();
        assert_eq!(refusal.code, crate::refusal::Code::Start, "{refusal}");
    }
}
