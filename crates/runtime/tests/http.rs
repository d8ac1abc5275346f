//! The HTTP edge over real sockets: what is asked comes whole and is answered, and whoever keeps to no bound is told so or cut off, and takes nothing
//! from others. Nothing here waits but for what must come.

use bytes::Bytes;
use runtime::StartError;
use runtime::http::{Answer, Reply, Request, Server, Setup, serve};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Longer than anything here takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a client is cut off after, in tests that wait for it.
const SOON: Duration = Duration::from_millis(30);

fn setup() -> Setup {
    Setup::new(SocketAddr::from(([127, 0, 0, 1], 0)))
}

/// Answers each request with its method, path, query and body.
fn echo(request: Request, answer: Answer) {
    let body =
        [request.method.as_bytes(), b" ", request.path.as_bytes(), b" ", request.query.as_bytes(), b" ", &request.body];
    answer.send(Reply { status: 200, headers: vec![("x-echo", "yes".into())], body: body.concat().into() });
}

fn echoing(change: impl FnOnce(&mut Setup)) -> Server {
    let mut setup = setup();
    change(&mut setup);
    serve(setup, echo).unwrap()
}

/// Hands each request to the test.
fn handing(change: impl FnOnce(&mut Setup)) -> (Server, Receiver<(Request, Answer)>) {
    let mut setup = setup();
    change(&mut setup);
    let (give, take) = channel();
    (serve(setup, move |request, answer| give.send((request, answer)).unwrap()).unwrap(), take)
}

struct Client(TcpStream);

/// An answer as it came: its status, its head, its body.
struct Got {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Client {
    fn new(server: &Server) -> Self {
        let stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    /// Says it; that the other end has gone meanwhile is found out when it is listened to.
    fn say(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let _ = self.0.write_all(bytes.as_ref());
        self
    }

    fn head(&mut self) -> Option<String> {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            match self.0.read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                Ok(_) => return None,
                Err(why) if why.kind() == ErrorKind::ConnectionReset => return None,
                Err(why) => panic!("{why}"),
            }
        }
        Some(String::from_utf8(head).unwrap())
    }

    /// The next answer; none if the other end is gone.
    fn hear(&mut self, has_body: bool) -> Option<Got> {
        let head = self.head()?;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
        let mut body = vec![0; if has_body { length } else { 0 }];
        self.0.read_exact(&mut body).ok()?;
        Some(Got { status, head, body })
    }

    fn ask(&mut self, bytes: impl AsRef<[u8]>) -> Option<Got> {
        self.say(bytes).hear(true)
    }

    fn status(&mut self, bytes: impl AsRef<[u8]>) -> Option<u16> {
        self.ask(bytes).map(|got| got.status)
    }

    /// Whether the other end has nothing more to say.
    fn is_over(&mut self) -> bool {
        match self.0.read(&mut [0]) {
            Ok(count) => count == 0,
            Err(why) => why.kind() == ErrorKind::ConnectionReset,
        }
    }
}

/// Asks on new connections until there is a place for one.
fn until_served(server: &Server) -> Got {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let got = Client::new(server).ask("GET /again HTTP/1.1\r\nhost: a\r\n\r\n");
        match got {
            Some(got) if got.status == 200 => return got,
            _ => assert!(std::time::Instant::now() < deadline, "no place became free"),
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_request_comes_as_it_was_sent_and_its_answer_goes_back() {
    let (server, requests) = handing(|_| {});
    let mut client = Client::new(&server);
    client.say("PUT /a/../%2e//b%20?x=%41+&&y HTTP/1.1\r\nHost: h:1\r\nX-Two:  1 \r\nX-two: 2\r\nX-B: \u{e9}\r\ncontent-length: 3\r\n\r\nabc");
    let (request, answer) = requests.recv_timeout(PATIENCE).unwrap();
    assert_eq!((request.method.as_str(), request.path.as_str()), ("PUT", "/a/../%2e//b%20"));
    assert_eq!((request.query.as_str(), &request.body[..]), ("x=%41+&&y", &b"abc"[..]));
    assert_eq!(request.from, client.0.local_addr().unwrap());
    let of = |name: &str| -> Vec<_> {
        request
            .headers
            .iter()
            .filter(|(n, _)| n == name)
            .map(|(_, v)| String::from_utf8_lossy(v).into_owned())
            .collect()
    };
    assert_eq!(
        (of("host"), of("x-two"), of("x-b")),
        (vec!["h:1".into()], vec!["1".into(), "2".into()], vec!["\u{e9}".into()])
    );
    assert!(answer.is_wanted());
    let headers = vec![("X-Amzn", "v".to_string()), ("x-more", "1".into()), ("x-more", "2".into())];
    answer.send(Reply { status: 418, headers, body: Bytes::from_static(b"teapot") });
    let got = client.hear(true).unwrap();
    assert_eq!((got.status, &got.body[..]), (418, &b"teapot"[..]));
    assert!(got.head.contains("x-amzn: v\r\n") && got.head.contains("x-more: 1\r\nx-more: 2\r\n"), "{}", got.head);
    assert!(got.head.contains("date: "), "{}", got.head);
}

#[test]
fn a_connection_is_kept_for_many_requests_and_closed_when_the_client_says_so() {
    let server = echoing(|_| {});
    let mut client = Client::new(&server);
    for at in 0..100 {
        let got = client.ask(format!("POST /{at} HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nok")).unwrap();
        assert_eq!(got.body, format!("POST /{at}  ok").as_bytes());
    }
    assert_eq!(client.status("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"), Some(200));
    assert!(client.is_over());
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let server = echoing(|_| {});
    let mut client = Client::new(&server);
    let all: String =
        (0..200).map(|at| format!("POST /{at} HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\n.")).collect();
    client.say(all);
    for at in 0..200 {
        assert_eq!(client.hear(true).unwrap().body, format!("POST /{at}  .").as_bytes());
    }
}

#[test]
fn a_chunked_body_comes_whole_and_without_its_chunks() {
    let server = echoing(|_| {});
    let mut client = Client::new(&server);
    for part in [
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nab",
        "c\r\n1;x=y\r\n",
        "d\r\n0\r\nx-t: 1\r\n\r\n",
    ] {
        client.say(part);
    }
    assert_eq!(client.hear(true).unwrap().body, b"POST /  abcd");
    assert_eq!(client.status("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"), Some(400));
    assert!(client.is_over());
}

#[test]
fn who_asks_whether_to_send_a_body_is_told_so_unless_it_is_too_large() {
    let server = echoing(|setup| setup.body_bytes_max = 10);
    let head = |bytes| format!("PUT / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: {bytes}\r\n\r\n");
    let mut client = Client::new(&server);
    assert_eq!(client.say(head(2)).head().unwrap(), "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(client.ask("ok").unwrap().body, b"PUT /  ok");
    assert_eq!(client.status(head(11)), Some(413));
    client.0.shutdown(Shutdown::Write).unwrap();
    assert!(client.is_over());
}

#[test]
fn an_answer_to_head_has_a_length_and_no_body() {
    let server = echoing(|_| {});
    let mut client = Client::new(&server);
    for _ in 0..3 {
        let got = client.say("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n").hear(false).unwrap();
        assert!(got.status == 200 && got.head.contains("content-length: 8\r\n"), "{}", got.head);
    }
    assert_eq!(client.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap().body, b"GET /  ");
}

#[test]
fn a_body_that_is_too_large_is_refused_however_it_comes() {
    let server = echoing(|setup| setup.body_bytes_max = 1000);
    for sent in [999, 1000] {
        let body = "x".repeat(sent);
        let request = format!("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: {sent}\r\n\r\n{body}");
        assert_eq!(Client::new(&server).status(request), Some(200));
    }
    let large = "x".repeat(100_000);
    let stated = format!("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{large}", large.len());
    let chunked = format!(
        "PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3e9\r\n{}\r\n0\r\n\r\n",
        &large[..1001]
    );
    for request in [stated, chunked] {
        let mut client = Client::new(&server);
        assert_eq!(client.status(request), Some(413), "the answer arrives though the body is still being sent");
        client.0.shutdown(Shutdown::Write).unwrap();
        assert!(client.is_over());
    }
    let endless = |bytes: u64| format!("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: {bytes}\r\n\r\n");
    assert_eq!(Client::new(&server).status(endless(u64::MAX / 2)), Some(413));
    // One that no integer of hyper's holds.
    assert!(matches!(Client::new(&server).status(endless(u64::MAX)), Some(413 | 431)));
}

#[test]
fn who_takes_too_long_over_a_head_is_cut_off() {
    let server = echoing(|setup| setup.head_within = SOON);
    assert!(Client::new(&server).is_over(), "nothing was ever said");
    assert!(Client::new(&server).say("GET / HTTP/1.1\r\nho").is_over(), "half a head");
}

#[test]
fn who_asks_nothing_more_or_only_half_is_cut_off() {
    let server = echoing(|setup| setup.idle_within = SOON);
    let mut idle = Client::new(&server);
    assert_eq!(idle.status("GET / HTTP/1.1\r\nhost: a\r\n\r\n"), Some(200));
    assert!(idle.is_over(), "nothing was asked any more");
    let server = echoing(|setup| (setup.head_within, setup.idle_within) = (SOON, SOON));
    // Again and again, since this process may itself be the one that is too slow.
    let mut half = loop {
        let mut client = Client::new(&server);
        client.say("GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HT");
        if client.hear(true).is_some() {
            break client;
        }
    };
    assert!(half.is_over(), "half a second head");
}

#[test]
fn who_takes_too_long_over_a_body_is_told_so() {
    let server = echoing(|setup| setup.body_within = SOON);
    for head in ["content-length: 9", "transfer-encoding: chunked"] {
        let mut client = Client::new(&server);
        assert_eq!(client.status(format!("PUT / HTTP/1.1\r\nhost: a\r\n{head}\r\n\r\n4\r\nha")), Some(408));
        client.0.shutdown(Shutdown::Write).unwrap();
        assert!(client.is_over());
    }
}

#[test]
fn who_does_not_take_its_answer_is_cut_off() {
    // More than two kernels hold.
    let large = Bytes::from(vec![7; 64 << 20]);
    let setup = Setup { connections_max: 1, body_within: SOON, ..setup() };
    let server = serve(setup, move |request, answer| match request.path.as_str() {
        "/large" => answer.send(Reply { body: large.clone(), ..Reply::empty(200) }),
        _ => answer.send(Reply::empty(200)),
    })
    .unwrap();
    let mut client = Client::new(&server);
    client.say("GET /large HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(client.head().is_some());
    until_served(&server);
    let mut rest = Vec::new();
    let _ = client.0.read_to_end(&mut rest);
    assert!(rest.len() < 64 << 20, "it has all {} bytes", rest.len());
}

#[test]
fn one_connection_too_many_is_told_so_and_has_a_place_when_another_ends() {
    let (server, requests) = handing(|setup| setup.connections_max = 2);
    let mut held = [Client::new(&server), Client::new(&server)];
    let mut answers = Vec::new();
    for client in &mut held {
        client.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        answers.push(requests.recv_timeout(PATIENCE).unwrap().1);
    }
    let mut third = Client::new(&server);
    let got = third.hear(true).unwrap();
    assert!(got.status == 503 && got.head.contains("retry-after: 1\r\n"), "{}", got.head);
    assert!(third.is_over());
    assert_eq!(server.turned_away().load(std::sync::atomic::Ordering::Relaxed), 1);
    drop((held, answers));
    std::thread::spawn(move || requests.iter().for_each(|(_, answer)| answer.send(Reply::empty(200))));
    until_served(&server);
}

#[test]
fn a_client_that_goes_away_while_it_is_worked_for_frees_its_place() {
    let (server, requests) = handing(|setup| setup.connections_max = 1);
    let mut client = Client::new(&server);
    client.say("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\n.");
    let (_, answer) = requests.recv_timeout(PATIENCE).unwrap();
    assert!(answer.is_wanted());
    drop(client);
    let deadline = std::time::Instant::now() + PATIENCE;
    while answer.is_wanted() {
        assert!(std::time::Instant::now() < deadline, "nobody noticed");
        std::thread::yield_now();
    }
    std::thread::spawn(move || requests.iter().for_each(|(_, answer)| answer.send(Reply::empty(200))));
    until_served(&server);
    answer.send(Reply::empty(200));
}

#[test]
fn an_answer_that_nobody_gives_or_that_cannot_be_sent_is_a_500() {
    let server = serve(setup(), |request, answer| match request.path.as_str() {
        "/none" => drop(answer),
        "/early" => answer.send(Reply::empty(102)),
        "/status" => answer.send(Reply::empty(1000)),
        "/name" => answer.send(Reply { headers: vec![("a b", "c".into())], ..Reply::empty(200) }),
        "/value" => answer.send(Reply { headers: vec![("a", "b\r\nc: d".into())], ..Reply::empty(200) }),
        _ => answer.send(Reply::empty(204)),
    })
    .unwrap();
    let mut client = Client::new(&server);
    for path in ["/none", "/early", "/status", "/name", "/value"] {
        assert_eq!(client.status(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")), Some(500), "{path}");
    }
    assert_eq!(client.status("GET / HTTP/1.1\r\nhost: a\r\n\r\n"), Some(204));
}

#[test]
fn what_is_no_http_is_refused_or_closed_and_harms_nobody() {
    let (server, hasty) = (echoing(|_| {}), echoing(|setup| setup.head_within = SOON));
    let long = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(60_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(500));
    assert!(matches!(Client::new(&server).status(long), Some(414 | 431)));
    assert_eq!(Client::new(&server).status(many), Some(431));
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    for garbage in [
        &hello[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\r\n\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\na b\r\n\r\n",
    ] {
        let mut client = Client::new(&hasty);
        assert!(matches!(client.status(garbage), None | Some(400)), "{garbage:?}");
    }
    let mut state = 1_u64;
    let mut dice = move || {
        // Knuth's MMIX generator; its upper bits are the good ones.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    let whole = b"POST /p?q HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    for _ in 0..300 {
        let mut bytes = whole.to_vec();
        for _ in 0..1 + dice() % 3 {
            let at = dice() % bytes.len();
            bytes[at] = dice() as u8;
        }
        let mut client = Client::new(&server);
        client.say(&bytes[..dice() % (bytes.len() + 1)]);
        client.0.shutdown(Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        let _ = client.0.read_to_end(&mut rest);
    }
    until_served(&server);
}

#[test]
fn many_clients_are_answered_at_once_from_another_thread() {
    let (server, requests) = handing(|_| {});
    let answering = std::thread::spawn(move || {
        for (request, answer) in requests {
            echo(request, answer);
        }
    });
    std::thread::scope(|scope| {
        for client in 0..16 {
            let server = &server;
            scope.spawn(move || {
                let mut at = Client::new(server);
                for ask in 0..50 {
                    let got = at.ask(format!("GET /{client}/{ask} HTTP/1.1\r\nhost: a\r\n\r\n")).unwrap();
                    assert_eq!(got.body, format!("GET /{client}/{ask}  ").as_bytes());
                }
            });
        }
    });
    drop(server);
    answering.join().unwrap();
}

#[test]
fn an_address_that_other_computers_can_reach_needs_leave() {
    let everywhere = SocketAddr::from(([0, 0, 0, 0], 0));
    assert!(matches!(serve(Setup::new(everywhere), echo), Err(StartError::NotLoopback { .. })));
    let server = serve(Setup { allow_remote: true, ..Setup::new(everywhere) }, echo).unwrap();
    assert_ne!(server.address().port(), 0);
    assert!(matches!(
        serve(Setup { allow_remote: true, ..Setup::new(server.address()) }, echo),
        Err(StartError::Bind { .. })
    ));
}

#[test]
fn a_server_that_ends_finishes_what_is_in_flight_and_closes_what_is_idle() {
    let (server, requests) = handing(|setup| setup.stop_within = PATIENCE);
    let (mut idle, mut busy) = (Client::new(&server), Client::new(&server));
    idle.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    requests.recv_timeout(PATIENCE).unwrap().1.send(Reply::empty(200));
    assert_eq!(idle.hear(true).unwrap().status, 200);
    busy.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let (_, answer) = requests.recv_timeout(PATIENCE).unwrap();
    let address = server.address();
    let ending = std::thread::spawn(move || drop(server));
    assert!(idle.is_over());
    answer.send(Reply::empty(200));
    assert_eq!(busy.hear(true).unwrap().status, 200);
    assert!(busy.is_over());
    ending.join().unwrap();
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_server_that_ends_waits_for_nobody_for_longer_than_it_may() {
    let (server, requests) = handing(|setup| setup.stop_within = SOON);
    let mut busy = Client::new(&server);
    busy.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let (_, answer) = requests.recv_timeout(PATIENCE).unwrap();
    let mut half = Client::new(&server);
    half.say("GET / HT");
    drop(server);
    assert!(busy.is_over() && half.is_over());
    assert!(!answer.is_wanted());
}
