//! A cable between two worlds that can be cut and mended: a proxy that holds what it is given, as a network that loses it does, for TCP sends it again.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

#[derive(Default)]
struct State {
    cut: Mutex<bool>,
    mended: Condvar,
}

impl State {
    fn pass(&self) {
        let cut = self.cut.lock().unwrap();
        drop(self.mended.wait_while(cut, |cut| *cut).unwrap());
    }
}

/// One end of it is an address of its own, the other the address that it leads to. Its threads end with the process.
pub struct Cable {
    pub at: SocketAddr,
    state: Arc<State>,
}

impl Cable {
    pub fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (at, state) = (listener.local_addr().unwrap(), Arc::<State>::default());
        let inside = state.clone();
        std::thread::spawn(move || {
            for near in listener.incoming() {
                let (near, state) = (near.unwrap(), inside.clone());
                std::thread::spawn(move || {
                    state.pass();
                    // Where nobody listens a caller is refused; through a cable it is reset.
                    let Ok(far) = TcpStream::connect(target) else { return };
                    let (from, to, there) = (far.try_clone().unwrap(), near.try_clone().unwrap(), state.clone());
                    std::thread::spawn(move || pump(from, to, &there));
                    pump(near, far, &state);
                });
            }
        });
        Self { at, state }
    }

    pub fn cut(&self) {
        *self.state.cut.lock().unwrap() = true;
    }

    pub fn mend(&self) {
        *self.state.cut.lock().unwrap() = false;
        self.state.mended.notify_all();
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, state: &State) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        state.pass();
        if to.write_all(&buffer[..len]).is_err() {
            break;
        }
    }
    state.pass();
    let _ = (to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both));
}
