//! The HTTP edge and a world's application together: requests are handed over from the edge's thread, the application is stepped for them though
//! nothing else came, and answers from within its step. While nobody asks, it is not stepped.

use base::io::net::Peer;
use base::io::{Inbox, Outbox};
use base::{ClusterId, Incarnation, Time};
use runtime::handover::{NotGiven, Taker, handover};
use runtime::http::{self, Answer, Reply, Request};
use runtime::{Application, Driver, Exit, Next, Setup, World, ZoneKey, stream};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

struct App {
    requests: Taker<(Request, Answer)>,
    /// How often it was stepped.
    steps: usize,
}

impl Application for App {
    fn step(
        &mut self,
        _: Time,
        inbox: &mut Inbox,
        streams: &mut Vec<stream::Event>,
        _: &mut Outbox,
        _: &mut Vec<stream::Op>,
    ) -> Next {
        self.steps += 1;
        assert!(inbox.is_empty() && streams.is_empty());
        let mut next = Next::Continue;
        for (request, answer) in self.requests.take() {
            answer.send(Reply { body: request.path.clone().into(), ..Reply::empty(200) });
            if request.path == "/stop" {
                next = Next::Stop(0);
            }
        }
        next
    }

    fn deadline(&self) -> Option<Time> {
        None
    }
}

fn ask(address: SocketAddr, path: &str) -> String {
    let mut client = TcpStream::connect(address).unwrap();
    write!(client, "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn an_application_is_stepped_for_each_request_and_for_nothing_else() {
    for driver in [Driver::Auto, Driver::Epoll] {
        let (born, cradle) = std::sync::mpsc::channel();
        let world = std::thread::spawn(move || {
            let setup = Setup { driver, ..Setup::new(Peer::Zone, ClusterId(1), Incarnation(1), ZoneKey::generate()) };
            let mut world = World::new(setup).unwrap();
            let (giver, requests) = handover(16, world.waker());
            let handler = move |request: Request, answer: Answer| match giver.give((request, answer)) {
                Ok(()) => {}
                Err(NotGiven::Full((_, answer)) | NotGiven::Gone((_, answer))) => answer.send(Reply::empty(503)),
            };
            let server = http::serve(http::Setup::new(SocketAddr::from(([127, 0, 0, 1], 0))), handler).unwrap();
            born.send(server.address()).unwrap();
            let mut app = App { requests, steps: 0 };
            let exit = world.run(&mut app).unwrap();
            assert_eq!(exit, Exit::Stopped(0));
            app.steps
        });
        let address = cradle.recv().unwrap();
        for at in 0..100 {
            let answer = ask(address, &format!("/{at}"));
            assert!(
                answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with(&format!("\r\n\r\n/{at}")),
                "{answer}"
            );
        }
        assert!(ask(address, "/stop").ends_with("/stop"));
        // Each application has a first step; a request that came during a step may have been taken in it.
        let steps = world.join().unwrap();
        assert!((2..=102).contains(&steps), "{driver}: {steps}");
    }
}
