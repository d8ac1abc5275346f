//! Where io_uring is forbidden, as many containers forbid it, a world finds another way by itself: proven in a process whose
//! kernel answers EPERM.

mod rig;

use base::Payload;
use base::io::disk::{Done, Op, OpId};
use base::io::net::Link;
use base::io::{Input, Output};
use rig::{Order, Rig, Scratch, Seen, frame, node, setup};
use runtime::{Driver, Setup, StartError, World};
use std::path::Path;
use std::process::Command;

/// Set for the process whose io_uring is forbidden: the path of its disk.
const ROLE: &str = "SEAWALL_TEST_FORBIDDEN";

/// From here on io_uring_setup answers EPERM to this thread and those it starts.
#[allow(unsafe_code)]
fn forbid_io_uring() {
    const fn op(code: u32, jump: (u8, u8), k: u32) -> libc::sock_filter {
        libc::sock_filter { code: code as u16, jt: jump.0, jf: jump.1, k }
    }
    let mut filter = [
        // The number of the call is the first word of what a filter sees.
        op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, (0, 0), 0),
        op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, (0, 1), libc::SYS_io_uring_setup as u32),
        op(libc::BPF_RET | libc::BPF_K, (0, 0), libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        op(libc::BPF_RET | libc::BPF_K, (0, 0), libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program and its filter are on our stack; the kernel copies both.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program), 0);
    }
}

fn ask(rig: &Rig, op: Op) -> Done {
    rig.order([Order::Out(Output::Disk(op))]);
    rig.until("the end of a disk operation", |seen| match seen {
        Seen::Input(Input::Disk(done)) => Some(done.clone()),
        _ => None,
    })
}

/// What the process does to which io_uring is forbidden, when this is that process.
#[test]
fn forbidden() {
    let Ok(disk) = std::env::var(ROLE) else { return };
    forbid_io_uring();
    let with = |driver: Driver| {
        let config = runtime::disk::Config { path: Path::new(&disk).into(), capacity_bytes: 64 << 20, create: true };
        Setup { disk: Some(config), driver, ..setup(1) }
    };
    let error = std::thread::spawn({
        let setup = with(Driver::IoUring);
        move || World::new(setup).err().expect("io_uring was demanded and is forbidden")
    });
    let error = error.join().unwrap();
    assert!(matches!(error, StartError::NoRing(_)) && error.to_string().contains("driver = \"auto\""), "{error}");

    let (a, b) = (Rig::new(with(Driver::Auto)), Rig::new(Setup { driver: Driver::Auto, ..setup(2) }));
    assert_eq!((a.driver, b.driver), (Driver::Epoll, Driver::Epoll));
    let data: Payload = (0..64u32 << 12).map(|n| (n / 9) as u8).collect::<Vec<u8>>().into();
    let parts = vec![data.slice(0, 4096), data.slice(4096, 63 << 12)];
    ask(&a, Op::Write { id: OpId(1), at: 8192, parts, durable: true }).result.unwrap();
    ask(&a, Op::Flush { id: OpId(2) }).result.unwrap();
    assert!(ask(&a, Op::Read { id: OpId(3), at: 8192, len: 64 << 12 }).result.unwrap() == data);
    a.know(node(2), b.at());
    a.send(Link::to(node(2)), frame(0x20, b"over epoll", vec![data.to_vec()]));
    let (_, came) = b.until_frame();
    assert!(&came.head[..] == b"over epoll" && came.data[0] == data);
    println!("all of it over epoll");
}

#[test]
fn where_io_uring_is_to_be_had_it_is_taken() {
    assert_eq!(Rig::new(Setup { driver: Driver::Auto, ..setup(1) }).driver, Driver::IoUring);
}

#[test]
fn a_world_whose_io_uring_is_forbidden_runs_over_epoll_and_says_so() {
    let disk = Scratch::new("forbidden");
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args(["forbidden", "--exact", "--nocapture"]).env(ROLE, &disk.0).output().unwrap();
    let said = [String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)].concat();
    assert!(output.status.success() && said.contains("all of it over epoll"), "{said}");
    assert!(
        said.contains("node-1 the kernel gives no io_uring (Operation not permitted (os error 1)); epoll"),
        "{said}"
    );
}
