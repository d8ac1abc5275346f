//! The loop of the edge's thread: accepts, drives each connection as one task, and ends them all.
//!
//! It promises that a connection's place is free as soon as its task is over, whatever ended it. Only this file knows hyper's types.

use super::line::{Line, Scratch, Watch};
use super::{Answer, Reply, Request, Setup};
use crate::os;
use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONNECTION, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use std::cell::RefCell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, timeout};

/// A client whose kernel says nothing for so long is gone, though its request is worked on.
const DEAD_AFTER_S: i32 = 60;
/// After the kernel refused a connection (no descriptor is left, mostly) it is asked again so much later.
const REFUSED_FOR: Duration = Duration::from_millis(100);
/// Bytes read at a time.
const SCRATCH_BYTES: usize = 64 << 10;
/// What hyper takes at least.
const HEAD_BYTES_MIN: usize = 8 << 10;
const BUSY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

type Handler = Arc<dyn Fn(Request, Answer) + Send + Sync>;

/// What all connections share.
struct Edge {
    setup: Setup,
    handler: Handler,
    scratch: Scratch,
    turned_away: Arc<AtomicU64>,
    stopped: watch::Receiver<bool>,
}

/// Runs until it is stopped.
pub fn run(
    runtime: &Runtime,
    listener: std::net::TcpListener,
    setup: Setup,
    handler: Handler,
    turned_away: Arc<AtomicU64>,
    stopped: watch::Receiver<bool>,
) {
    let scratch = Rc::new(RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice()));
    let edge = Rc::new(Edge { setup, handler, scratch, turned_away, stopped });
    LocalSet::new().block_on(runtime, async {
        // It can fail only where the loop itself could not be made.
        let Ok(listener) = TcpListener::from_std(listener) else { return };
        let mut connections = JoinSet::new();
        accept(&edge, listener, &mut connections).await;
        let all_ended = async { while connections.join_next().await.is_some() {} };
        // Those that are left then end with the set.
        let _ = timeout(edge.setup.stop_within, all_ended).await;
    });
}

/// Accepts until it is stopped.
async fn accept(edge: &Rc<Edge>, listener: TcpListener, connections: &mut JoinSet<()>) {
    let mut stopped = edge.stopped.clone();
    let mut stopped = pin!(stopped.wait_for(|stopped| *stopped));
    loop {
        let next = poll_fn(|cx| {
            while let Poll::Ready(Some(_)) = connections.poll_join_next(cx) {}
            match stopped.as_mut().poll(cx) {
                Poll::Ready(_) => Poll::Ready(None),
                Poll::Pending => listener.poll_accept(cx).map(Some),
            }
        });
        match next.await {
            None => return,
            Some(Ok((socket, _))) if connections.len() >= edge.setup.connections_max => {
                edge.turned_away.fetch_add(1, Relaxed);
                // As much as its kernel takes at once: nobody is waited for who has no place.
                let _ = socket.try_write(BUSY);
            }
            Some(Ok((socket, from))) => {
                connections.spawn_local(drive(edge.clone(), socket, from));
            }
            // tidy: sleep: the kernel has no event for a descriptor that becomes free; without it the loop would spin.
            Some(Err(_)) => tokio::time::sleep(REFUSED_FOR).await,
        }
    }
}

/// Drives one connection to its end.
async fn drive(edge: Rc<Edge>, socket: TcpStream, from: SocketAddr) {
    if os::tune_stream(&socket, DEAD_AFTER_S).is_err() {
        return;
    }
    let watch = Watch::new(&edge.setup);
    let line = Line::new(socket, edge.scratch.clone(), watch.clone());
    let service = service_fn(|request| {
        let (edge, watch) = (edge.clone(), watch.clone());
        async move {
            watch.begins_work();
            let answer = answer(&edge, request, from).await;
            watch.answered();
            Ok::<_, Infallible>(answer.map(|data| Whole { data: Some(data).filter(|data| !data.is_empty()), watch }))
        }
    });
    let head_bytes_max = edge.setup.head_bytes_max.max(HEAD_BYTES_MIN);
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_header_size(head_bytes_max)
        .max_buf_size(head_bytes_max)
        .serve_connection(line, service);
    let mut connection = pin!(connection);
    let mut stopped = edge.stopped.clone();
    let mut stopped = pin!(stopped.wait_for(|stopped| *stopped));
    let (mut cut_off, mut armed) = (pin!(tokio::time::sleep_until(Instant::now())), None); // tidy: sleep: a deadline, not a wait.
    let mut is_stopping = false;
    poll_fn(|cx| {
        if !is_stopping && stopped.as_mut().poll(cx).is_ready() {
            is_stopping = true;
            watch.stops();
            connection.as_mut().graceful_shutdown();
        }
        // How it ended is of no interest: whatever was wrong with it is the client's, and the client is told or gone.
        if connection.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        // Only what has just been done can have moved the deadline: all of this connection happens above.
        if armed != watch.deadline() {
            armed = watch.deadline();
            if let Some(at) = armed {
                cut_off.as_mut().reset(at);
            }
        }
        if armed.is_some() { cut_off.as_mut().poll(cx) } else { Poll::Pending }
    })
    .await;
}

/// Reads a request to its end, has it answered, and gives the answer.
async fn answer(edge: &Edge, request: hyper::Request<Incoming>, from: SocketAddr) -> Response<Bytes> {
    let (head, body) = request.into_parts();
    let body = match timeout(edge.setup.body_within, whole(body, edge.setup.body_bytes_max)).await {
        Ok(Ok(body)) => body,
        Ok(Err(status)) => return last(status),
        Err(_) => return last(StatusCode::REQUEST_TIMEOUT),
    };
    let text = |name: &HeaderName| name.as_str().to_string();
    let request = Request {
        method: head.method.as_str().into(),
        path: head.uri.path().into(),
        query: head.uri.query().unwrap_or_default().into(),
        headers: head.headers.iter().map(|(name, value)| (text(name), value.as_bytes().to_vec())).collect(),
        body,
        from,
    };
    // Not held while the answer is waited for: it is as large as a body.
    drop(head);
    let (way_back, reply) = oneshot::channel();
    (edge.handler)(request, Answer(way_back));
    let reply = reply.await.ok().and_then(response);
    reply.unwrap_or_else(|| with_status(StatusCode::INTERNAL_SERVER_ERROR))
}

/// The whole body, or the status that says why it is not taken.
async fn whole(mut body: Incoming, bytes_max: usize) -> Result<Bytes, StatusCode> {
    // One that says that it is too large is not read at all, and nobody who asked whether to send it is told to.
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let (mut first, mut all) = (Bytes::new(), BytesMut::new());
    loop {
        let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        let data = match frame {
            None => break,
            Some(Err(_)) => return Err(StatusCode::BAD_REQUEST),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => data,
                // Trailers, which mean nothing here.
                Err(_) => continue,
            },
        };
        if first.len() + all.len() + data.len() > bytes_max {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        // What comes in one piece, as most do, is not copied.
        if first.is_empty() && all.is_empty() {
            first = data;
        } else {
            all.extend_from_slice(&std::mem::take(&mut first));
            all.extend_from_slice(&data);
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

fn with_status(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}

/// The last answer of a connection, whose request was not read to its end.
fn last(status: StatusCode) -> Response<Bytes> {
    let mut response = with_status(status);
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// An answer as it is sent; none if it cannot be.
fn response(reply: Reply) -> Option<Response<Bytes>> {
    // What is below 200 is no answer, but a promise of one.
    let status = StatusCode::from_u16(reply.status).ok().filter(|status| (200..600).contains(&status.as_u16()))?;
    let mut response = with_status(status);
    for (name, value) in reply.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        response.headers_mut().append(name, HeaderValue::from_str(&value).ok()?);
    }
    *response.body_mut() = reply.body;
    Some(response)
}

/// A body that is there as a whole, and says when hyper has it.
struct Whole {
    data: Option<Bytes>,
    watch: Rc<Watch>,
}

impl Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.data.take().map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, |data| data.len() as u64))
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        self.watch.body_is_out();
    }
}
