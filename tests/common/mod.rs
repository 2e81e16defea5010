//! What the tests of reality share: the real binary as a child process, and waiting for conditions instead of for time.
//!
//! Every wait has a deadline far beyond what a slow machine needs; it decides nothing but how soon a broken server fails its test.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test file uses its own part of this"
)]

use std::fmt::Debug;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use mynah::net::os::OsNet;
use mynah::service::Service;
use mynah::{Address, Dice, Ending, Handle, Limits, Reactor, Stats};
use serde_json::Value;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// How long a condition may take to come true before the test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Any free port of the loopback, as an endpoint.
pub const TCP: &str = "tcp://127.0.0.1:0";
pub const UDP: &str = "udp://127.0.0.1:0";

/// Waits until `condition` gives something.
#[track_caller]
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "gave up waiting: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Makes a call again for as long as it is interrupted. A process that is stopped and continued gives EINTR to whoever waits with a timeout
/// (signal(7)), and a machine that is paused does that to every test at once.
pub fn again<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// A running `mynah serve`. Killed when dropped.
pub struct Server {
    child: Child,
    /// What stands behind `listening on`, in the order of the endpoints.
    pub endpoints: Vec<String>,
    /// Standard output behind those lines; `None` where the test took it.
    pub stdout: Option<BufReader<ChildStdout>>,
    log: Arc<Mutex<String>>,
}

impl Server {
    /// Starts `mynah serve ARGS…` and waits until it says that every endpoint can be used. The log is at level debug.
    #[track_caller]
    pub fn start(args: &[&str]) -> Server {
        Server::spawn(
            Command::new(binary()).arg("serve").arg("-v").args(args),
            endpoints_in(args),
        )
    }

    /// The same with `-q`.
    #[track_caller]
    pub fn start_quiet(args: &[&str]) -> Server {
        Server::spawn(
            Command::new(binary()).arg("serve").arg("-q").args(args),
            endpoints_in(args),
        )
    }

    /// The same with `mynah receive ARGS…`.
    #[track_caller]
    pub fn receive(args: &[&str]) -> Server {
        Server::spawn(
            Command::new(binary()).arg("receive").arg("-v").args(args),
            endpoints_in(args),
        )
    }

    /// The same, with at most `descriptors` descriptors.
    #[track_caller]
    pub fn start_with_descriptors(descriptors: usize, args: &[&str]) -> Server {
        Server::start_after(&format!("ulimit -n {descriptors}"), args)
    }

    #[track_caller]
    fn spawn(command: &mut Command, endpoints: usize) -> Server {
        let mut child = command
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let log = Arc::new(Mutex::new(String::new()));
        let (sink, mut stderr) = (log.clone(), BufReader::new(child.stderr.take().unwrap()));
        thread::spawn(move || {
            let mut line = Vec::new();
            while stderr
                .read_until(b'\n', &mut line)
                .is_ok_and(|count| count > 0)
            {
                sink.lock()
                    .unwrap()
                    .push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut server = Server {
            child,
            endpoints: Vec::new(),
            stdout: None,
            log,
        };
        for _ in 0..endpoints {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            let Some(endpoint) = line.strip_prefix("listening on ") else {
                panic!(
                    "expected a listening line, got {line:?}; the log says:\n{}",
                    server.log()
                )
            };
            server.endpoints.push(endpoint.trim_end().to_owned());
        }
        server.stdout = Some(stdout);
        server
    }

    /// The IP address of the endpoint at `index`.
    #[track_caller]
    pub fn address(&self, index: usize) -> SocketAddr {
        let endpoint = &self.endpoints[index];
        endpoint
            .split_once("://")
            .and_then(|(_, address)| address.parse().ok())
            .unwrap_or_else(|| panic!("{endpoint} is no IP endpoint"))
    }

    /// Connects to the first endpoint over TCP.
    #[track_caller]
    pub fn connect(&self) -> TcpStream {
        connect(self.address(0))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name: TERM, INT, STOP, CONT, KILL, PIPE.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Waits for the end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let log = self.log.clone();
        eventually(
            &format!("the server ends; its log: {}", log.lock().unwrap()),
            || self.child.try_wait().unwrap(),
        )
    }

    /// SIGTERM, then the exit status.
    #[track_caller]
    pub fn stop(&mut self) -> i32 {
        self.signal("TERM");
        self.wait().code().expect("an exit status, not a signal")
    }

    #[track_caller]
    pub fn assert_running(&mut self) {
        assert_eq!(
            self.child.try_wait().unwrap(),
            None,
            "the server has ended; its log:\n{}",
            self.log()
        );
    }

    /// All that has been logged.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits for a piece of the log.
    #[track_caller]
    pub fn wait_for_log(&self, piece: &str) {
        eventually(&format!("{piece:?} in the log"), || {
            self.log.lock().unwrap().contains(piece).then_some(())
        });
    }

    /// How often `piece` stands in the log.
    pub fn count_in_log(&self, piece: &str) -> usize {
        self.log.lock().unwrap().matches(piece).count()
    }

    /// Open descriptors.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .unwrap()
            .count()
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        line.trim()
            .trim_end_matches(" kB")
            .parse::<usize>()
            .unwrap()
            * 1024
    }

    /// Processor time spent so far, in clock ticks (hundredths of a second).
    pub fn cpu_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .unwrap()
            .1
            .split_whitespace()
            .collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }
}

/// Everything up to the peer's end of stream; a reset instead of it fails the test.
#[track_caller]
pub fn read_to_end(mut stream: impl Read + Debug) -> Vec<u8> {
    let mut got = Vec::new();
    if let Err(error) = stream.read_to_end(&mut got) {
        panic!("{stream:?}: after {} bytes: {error}", got.len());
    }
    got
}

/// A socket that hears only what comes from this address.
#[track_caller]
pub fn udp_client(server: SocketAddr) -> UdpSocket {
    let any: IpAddr = if server.is_ipv6() {
        Ipv6Addr::LOCALHOST.into()
    } else {
        Ipv4Addr::LOCALHOST.into()
    };
    let socket = UdpSocket::bind((any, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(server).unwrap();
    socket
}

/// What `unshare` is to be told for a network of our own; `None`, with a word, where that cannot be.
pub fn isolated() -> Option<&'static [&'static str]> {
    let isolated = &["--net", "--map-root-user", "--user", "--"];
    if !has_tool("unshare")
        || !Command::new("unshare")
            .args(isolated)
            .arg("true")
            .output()
            .is_ok_and(|output| output.status.success())
    {
        eprintln!("skipped: no network of our own can be made");
        return None;
    }
    Some(isolated)
}

/// Sends a signal to a process; one that is to stop has stopped when this returns.
#[track_caller]
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("sh")
        .arg("-c")
        .arg(format!("kill -{name} {pid}"))
        .status()
        .unwrap();
    assert!(status.success(), "kill -{name}");
    if name == "STOP" {
        // The signal is on its way when kill returns.
        eventually("the process stands still", || {
            (state(pid) == Some('T')).then_some(())
        });
    }
}

/// What a process does, as proc(5) calls it: `S` sleeps, `T` stands still.
pub fn state(pid: u32) -> Option<char> {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()?
        .rsplit_once(") ")?
        .1
        .chars()
        .next()
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- log of the server\n{}---", self.log());
        }
    }
}

/// The program under test.
pub fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_mynah")
}

/// How many listening lines to wait for: the words that are endpoints with one address each; without any there are two.
fn endpoints_in(args: &[&str]) -> usize {
    let is_endpoint = |word: &&&str| {
        ["tcp://", "udp://", "unix:", "unixgram:"]
            .iter()
            .any(|scheme| word.starts_with(scheme))
    };
    match args.iter().filter(is_endpoint).count() {
        0 => 2,
        count => count,
    }
}

/// Connects over TCP, with deadlines on every later read and write.
#[track_caller]
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Sends `message` and reads it back.
#[track_caller]
pub fn assert_echoes(stream: impl Read + Write, message: &[u8]) {
    assert_echoes_as(stream, message, message);
}

/// Sends `message` and reads `answer`.
#[track_caller]
pub fn assert_echoes_as(mut stream: impl Read + Write, message: &[u8], answer: &[u8]) {
    stream.write_all(message).unwrap();
    let mut got = vec![0; answer.len()];
    stream.read_exact(&mut got).unwrap();
    assert!(got == answer, "the answer differs from what is due");
}

/// Bytes that follow from `seed`. They do not repeat, so a lost, repeated or swapped piece shows.
pub fn pattern(size: usize, seed: u64) -> Vec<u8> {
    let mut dice = Dice::new(seed);
    (0..size).map(|_| dice.roll() as u8).collect()
}

/// A directory of its own, removed when dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Scratch {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!(
            "mynah-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// `SCHEME:PATH` for a name in this directory.
    pub fn endpoint(&self, scheme: &str, name: &str) -> String {
        format!("{scheme}:{}", self.path(name).display())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Whether a program that we did not write is on this machine. A test that needs one says so and passes where it is not.
pub fn has_tool(name: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(name).is_file()));
    if !found {
        eprintln!("skipped: {name} is not installed");
    }
    found
}

/// Compares what is shown, with the values where they differ.
#[track_caller]
pub fn assert_within<T: PartialOrd + Debug>(what: &str, value: T, most: T) {
    assert!(value <= most, "{what}: {value:?} is more than {most:?}");
}

/// Any free port of the loopback.
pub fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// Whether a path is still there, a dangling link included.
pub fn stands(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

impl Server {
    /// The same as `start`, after the words of a shell that change the surroundings, such as `ulimit -Sn 64`.
    #[track_caller]
    pub fn start_after(setup: &str, args: &[&str]) -> Server {
        let script = format!("{setup} && exec \"$0\" \"$@\"");
        Server::spawn(
            Command::new("sh")
                .arg("-c")
                .arg(script)
                .arg(binary())
                .args(["serve", "-v"])
                .args(args),
            endpoints_in(args),
        )
    }

    /// Lets two seconds pass and asserts that the server hardly ran: a loop that spins would take two hundred ticks.
    #[track_caller]
    pub fn assert_burns_nothing(&self) {
        // What is still under way may end first. A loop that spins never comes to rest.
        eventually("the server comes to rest", || {
            let before = self.cpu_ticks();
            thread::sleep(Duration::from_millis(200));
            (self.cpu_ticks() - before <= 1).then_some(())
        });
        let before = self.cpu_ticks();
        thread::sleep(Duration::from_secs(2));
        assert_within(
            "ticks of the processor in two quiet seconds",
            self.cpu_ticks() - before,
            10,
        );
    }
}

/// Runs `mynah ARGS…` that must end by itself. Returns its exit status, standard output and standard error.
#[track_caller]
pub fn run_to_end(args: &[&str]) -> (i32, String, String) {
    let output = assert_cmd::Command::new(binary())
        .args(args)
        .env_remove("RUST_LOG")
        .timeout(PATIENCE)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("what the program writes is UTF-8");
    let status = output
        .status
        .code()
        .unwrap_or_else(|| panic!("{args:?}: no exit status: {:?}", output.status));
    (status, text(output.stdout), text(output.stderr))
}

/// Runs `mynah load ENDPOINT ARGS…` with its report as JSON, null where there is none. Returns the exit status, the report, and what was said on
/// standard error.
#[track_caller]
pub fn load(endpoint: &str, args: &[&str]) -> (i32, Value, String) {
    // Many tests share few processors: what a generator that waits for one adds is no finding.
    let load = ["load", endpoint, "--json", "-", "--spoiled", "warn"];
    let (status, printed, said) = run_to_end(&[&load, args].concat());
    (
        status,
        if printed.is_empty() {
            Value::Null
        } else {
            json(&printed)
        },
        said,
    )
}

/// What a program wrote as JSON.
#[track_caller]
pub fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A count of a report, by its path such as `/messages/sent`.
#[track_caller]
pub fn count(report: &Value, path: &str) -> u64 {
    report
        .pointer(path)
        .and_then(Value::as_u64)
        .unwrap_or_else(|| panic!("{path} is no count in {report:#}"))
}

/// What became of the messages of a report: sent, answered, unanswered, unsent.
#[track_caller]
pub fn messages(report: &Value) -> [u64; 4] {
    ["sent", "answered", "unanswered", "unsent"]
        .map(|name| count(report, &format!("/messages/{name}")))
}

/// What became of its datagrams: lost, late, duplicate, reordered.
#[track_caller]
pub fn fates(report: &Value) -> [u64; 4] {
    ["lost", "late", "duplicate", "reordered"]
        .map(|name| count(report, &format!("/datagrams/{name}")))
}

/// Whether nothing has arrived so far. The stream is left blocking.
#[track_caller]
pub fn is_quiet(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let peeked = stream.peek(&mut [0]);
    stream.set_nonblocking(false).unwrap();
    peeked.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

/// Connects as a peer that leaves little room for unread bytes, so that they stand in the server and not here. With the segments of an Ethernet, because
/// to those of the loopback, 64 KiB each, the server's kernel grants a send buffer of megabytes, and some hundreds of them exhaust its memory for TCP.
#[track_caller]
pub fn connect_small(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )
    .unwrap();
    socket.set_tcp_mss(1448).unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    socket.set_send_buffer_size(128 * 1024).unwrap();
    socket.connect(&address.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends on all of `streams` without reading, until the server has taken nothing more from any of them for a while. Every stream sends
/// `bytes` over and over; returns how many were taken from each.
#[track_caller]
pub fn stuff(streams: &[TcpStream], bytes: &[u8]) -> Vec<usize> {
    let mut taken = vec![0; streams.len()];
    let mut quiet_passes = 0;
    streams
        .iter()
        .for_each(|stream| stream.set_nonblocking(true).unwrap());
    eventually("the server stops taking", || {
        let before: usize = taken.iter().sum();
        for (mut stream, taken) in streams.iter().zip(&mut taken) {
            while let Ok(count) = stream.write(&bytes[*taken % bytes.len()..]) {
                *taken += count;
            }
        }
        quiet_passes = if taken.iter().sum::<usize>() == before {
            quiet_passes + 1
        } else {
            0
        };
        (quiet_passes == 50).then_some(())
    });
    streams
        .iter()
        .for_each(|stream| stream.set_nonblocking(false).unwrap());
    taken
}

/// Closes with a reset instead of an end of stream.
#[track_caller]
pub fn reset(stream: TcpStream) {
    SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

/// A reactor in a thread of its own. Stopped when dropped.
pub struct Background {
    pub address: Address,
    pub handle: Handle,
    thread: Option<thread::JoinHandle<Ending>>,
}

impl Background {
    /// Serves `address` by what `make` makes. The reactor is made in the thread, because it cannot move to another.
    #[track_caller]
    pub fn start<S: Service + 'static>(
        address: Address,
        limits: Limits,
        make: impl Fn() -> S + Send + 'static,
    ) -> Background {
        let (sender, started) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut reactor = Reactor::new(OsNet::new().unwrap(), limits).unwrap();
            let make: mynah::service::Factory = Box::new(move |_| Box::new(make()));
            let bound = if address.is_stream() {
                reactor.listen(&address, 128, make)
            } else {
                reactor.bind(&address, make)
            }
            .unwrap();
            sender.send((bound, reactor.handle())).unwrap();
            reactor.run()
        });
        let (address, handle) = started.recv_timeout(PATIENCE).unwrap();
        Background {
            address,
            handle,
            thread: Some(thread),
        }
    }

    /// Connects to it over TCP.
    #[track_caller]
    pub fn connect(&self) -> TcpStream {
        match self.address {
            Address::Tcp(address) => connect(address),
            ref other => panic!("{other} is no TCP endpoint"),
        }
    }

    #[track_caller]
    pub fn stats(&self) -> Stats {
        self.handle.stats().expect("the reactor is running")
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(mut self) -> Ending {
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "the reactor panicked");
        }
    }
}
