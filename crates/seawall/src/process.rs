//! Processes and signals: the few system calls that std does not offer. All unsafe code of the binary is in this file.
//!
//! A child started here dies with its parent, in a process group of its own, so that an interrupt typed at a terminal reaches
//! the parent alone and the parent decides the order in which its children stop.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

/// Sent to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Please stop.
    Term,
    /// Stop now, whatever is under way.
    Kill,
}

/// Came to this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// Somebody wants this process to stop.
    Stop,
    /// A child ended.
    Child,
}

/// Starts a child that is killed when this process, or the thread that calls this, ends. Call it from the main thread.
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    let parent = std::process::id();
    let prepare = move || {
        // SAFETY: prctl, getppid, sigemptyset and sigprocmask may be called between fork and exec (signal-safety(7); prctl is a
        // bare system call), and `set` is a valid place for the set.
        unsafe {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(io::Error::last_os_error());
            }
            // The parent may have died before the line above.
            if libc::getppid() as u32 != parent {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            // A mask outlives exec: the child must not be deaf to what this process has blocked for itself.
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            if libc::sigprocmask(libc::SIG_SETMASK, &set, std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: `prepare` allocates nothing and takes no lock; it only makes the system calls above.
    unsafe { command.pre_exec(prepare) };
    command.process_group(0).spawn()
}

/// Sends a signal. A process that is gone already is no error.
pub fn send(pid: u32, signal: Signal) -> io::Result<()> {
    let number = match signal {
        Signal::Term => libc::SIGTERM,
        Signal::Kill => libc::SIGKILL,
    };
    let pid = libc::pid_t::try_from(pid).map_err(|_| io::Error::from_raw_os_error(libc::ESRCH))?;
    assert!(pid > 1, "a signal to process {pid} would reach more than one process");
    // SAFETY: kill takes plain numbers.
    if unsafe { libc::kill(pid, number) } == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(libc::ESRCH) { Ok(()) } else { Err(error) }
}

/// From now on, requests to stop and ends of children come over `to` instead of interrupting. Call it before any other
/// thread is started: the mask is inherited.
pub fn listen<T: Send + 'static>(to: SyncSender<T>, wrap: fn(Came) -> T) -> io::Result<()> {
    // SAFETY: `set` is a valid place for a set; pthread_sigmask and sigwait only read it; SIG_DFL is a valid disposition.
    let set = unsafe {
        // Whoever started us may have had the ends of children ignored, and then nobody can wait for one.
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for number in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGCHLD] {
            libc::sigaddset(&mut set, number);
        }
        let result = libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
        if result != 0 {
            return Err(io::Error::from_raw_os_error(result));
        }
        set
    };
    let wait = move || {
        loop {
            let mut number = 0;
            // SAFETY: both point to values that live as long as the call.
            let result = unsafe { libc::sigwait(&set, &mut number) };
            assert_eq!(result, 0, "sigwait refuses a valid set");
            let came = if number == libc::SIGCHLD { Came::Child } else { Came::Stop };
            if to.send(wrap(came)).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait)?;
    Ok(())
}

/// Waits until a process that may be nobody's child here has ended; whether it has.
pub fn wait_gone(pid: u32, within: Duration) -> io::Result<bool> {
    // SAFETY: pidfd_open takes plain numbers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        let error = io::Error::last_os_error();
        return if error.raw_os_error() == Some(libc::ESRCH) { Ok(true) } else { Err(error) };
    }
    // SAFETY: the system call returned a new descriptor that nobody else owns.
    let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd is passed, and it lives as long as the call.
    let ready = unsafe { libc::poll(&mut poll, 1, within.as_millis().min(i32::MAX as u128) as i32) };
    if ready < 0 { Err(io::Error::last_os_error()) } else { Ok(ready > 0) }
}

/// Bytes that this user may still write to the file system on which a path lies.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: a zeroed statvfs is a valid one; the path ends with a zero byte; both live as long as the call.
    let (result, stat) = unsafe {
        let mut stat: libc::statvfs = std::mem::zeroed();
        (libc::statvfs(path.as_ptr(), &mut stat), stat)
    };
    if result == 0 { Ok(stat.f_bavail.saturating_mul(stat.f_frsize)) } else { Err(io::Error::last_os_error()) }
}

/// How finely the kernel counts processor time in /proc, in ticks a second.
pub fn clock_ticks_per_s() -> Option<u64> {
    // SAFETY: sysconf takes a plain number.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(ticks).ok().filter(|ticks| *ticks > 0)
}

/// Whether this process was given this configuration: a number in a file may be another's by now. One that is ending has no
/// command line any more, and still holds its files: it is judged by its name.
pub fn is_ours(pid: u32, config: &Path) -> bool {
    let read = |name: &str| std::fs::read(format!("/proc/{pid}/{name}"));
    match read("cmdline") {
        Ok(line) if line.is_empty() => {
            read("comm").is_ok_and(|name| std::fs::read("/proc/self/comm").is_ok_and(|own| own == name))
        }
        Ok(line) => line.split(|b| *b == 0).any(|word| word == config.as_os_str().as_bytes()),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;

    #[test]
    fn a_file_system_has_room_or_is_not_there() {
        assert!(free_bytes(&std::env::temp_dir()).unwrap() > 0);
        assert!(free_bytes(Path::new("/no/such/folder")).is_err());
    }

    #[test]
    fn a_child_can_be_started_recognised_and_stopped() {
        let mut child = spawn(Command::new("sleep").arg("600")).unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        // Between fork and exec the child still has this process's command line.
        while !is_ours(child.id(), Path::new("600")) {
            assert!(std::time::Instant::now() < deadline, "the child never showed its command line");
            std::thread::yield_now();
        }
        assert!(!is_ours(child.id(), Path::new("601")));
        assert!(!wait_gone(child.id(), Duration::ZERO).unwrap());
        send(child.id(), Signal::Term).unwrap();
        assert!(wait_gone(child.id(), Duration::from_secs(10)).unwrap());
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
        assert!(wait_gone(child.id(), Duration::ZERO).unwrap());
        send(child.id(), Signal::Kill).unwrap();
    }
}
