//! Unix sockets: which program owns a file, and which may remove it.
//!
//! A path is shared ground: the file may be a dead server's, a live one's, or no socket at all. Our
//! file must come and go with the server, and no other may be touched.

mod common;
#[path = "unix_paths/peers.rs"]
mod peers;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::{
    PATIENCE, Scratch, Server, TCP, assert_echoes, eventually, has_tool, pattern, run_to_end,
    stands,
};
use peers::{assert_answers, client};
use socket2::{Domain, SockAddr, Socket, Type};

fn connect(path: &Path) -> UnixStream {
    with_deadline(UnixStream::connect(path).unwrap())
}

fn with_deadline(stream: UnixStream) -> UnixStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// `mynah serve ARGS…` must fail, with status 1 and one line that holds `words`.
#[track_caller]
fn assert_refused(args: &[&str], words: &str) {
    let (status, stdout, stderr) = run_to_end(&[&["serve", "-q"], args].concat());
    assert_eq!((status, stdout.as_str()), (1, ""), "{stderr}");
    assert!(
        stderr.starts_with("mynah: cannot ") && stderr.contains(words),
        "{stderr}"
    );
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

/// The identity of a file, which another file in its place does not have.
fn identity(path: &Path) -> (u64, u64) {
    let metadata = path.symlink_metadata().unwrap();
    (metadata.dev(), metadata.ino())
}

#[test]
fn a_stream_and_a_datagram_path_echo_and_go_with_the_server() {
    let scratch = Scratch::new();
    let (stream, datagram) = (scratch.path("stream"), scratch.path("datagram"));
    let mut server = Server::start(&[
        &scratch.endpoint("unix", "stream"),
        &scratch.endpoint("unixgram", "datagram"),
    ]);
    assert_eq!(
        server.endpoints,
        [
            scratch.endpoint("unix", "stream"),
            scratch.endpoint("unixgram", "datagram")
        ]
    );
    for path in [&stream, &datagram] {
        assert!(path.symlink_metadata().unwrap().file_type().is_socket());
    }

    let client = client(&scratch.path("client"));
    for size in [0, 1, 100, 65_507] {
        assert_answers(&client, &datagram, &pattern(size, 3));
    }
    let mut peer = connect(&stream);
    assert_echoes(&peer, &pattern(100_000, 4));
    peer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(
        common::again(|| peer.read(&mut [0])).unwrap(),
        0,
        "our end of stream follows the peer's"
    );

    assert_eq!(server.stop(), 0);
    assert!(
        !stands(&stream) && !stands(&datagram),
        "the files go with the server"
    );
}

/// Half-close is exact on Unix streams too.
#[test]
fn every_byte_comes_back_over_a_unix_stream() {
    let scratch = Scratch::new();
    let _server = Server::start(&[&scratch.endpoint("unix", "echo")]);
    let mut stream = connect(&scratch.path("echo"));
    let sent = pattern(4 << 20, 5);
    let (mut writer, bytes) = (stream.try_clone().unwrap(), sent.clone());
    let writing = std::thread::spawn(move || {
        writer.write_all(&bytes).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    writing.join().unwrap();
    assert!(got == sent);
}

#[test]
fn a_failed_start_leaves_no_file_behind() {
    let scratch = Scratch::new();
    let taken = Server::start(&[TCP]);
    let (first, second) = (
        scratch.endpoint("unix", "first"),
        scratch.endpoint("unixgram", "second"),
    );
    assert_refused(
        &[&first, &second, &taken.endpoints[0]],
        "address already in use",
    );
    assert!(!stands(&scratch.path("first")) && !stands(&scratch.path("second")));
}

#[test]
fn what_a_killed_server_left_behind_is_replaced() {
    let scratch = Scratch::new();
    let endpoints = [
        scratch.endpoint("unix", "stream"),
        scratch.endpoint("unixgram", "datagram"),
    ];
    let args: Vec<&str> = endpoints.iter().map(String::as_str).collect();
    let mut killed = Server::start(&args);
    killed.signal("KILL");
    killed.wait();
    assert!(stands(&scratch.path("stream")) && stands(&scratch.path("datagram")));

    let mut server = Server::start(&args);
    eventually("both are replaced", || {
        (server.count_in_log("nobody answers on this socket file; replaced") == 2).then_some(())
    });
    assert_echoes(connect(&scratch.path("stream")), b"again");
    assert_answers(
        &client(&scratch.path("client")),
        &scratch.path("datagram"),
        b"again",
    );
    assert_eq!(server.stop(), 0);
    assert!(!stands(&scratch.path("stream")) && !stands(&scratch.path("datagram")));
}

/// A client's stream socket may have a name too. It does not listen, so it refuses as a dead
/// server's does, and yet a program uses it.
#[test]
fn the_socket_of_a_living_client_is_not_taken_for_a_stale_one() {
    let scratch = Scratch::new();
    let server = Server::start(&[&scratch.endpoint("unix", "server")]);
    let path = scratch.path("client");
    let client = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    client.bind(&SockAddr::unix(&path).unwrap()).unwrap();
    let before = identity(&path);
    let words = "a program is bound to that socket file, but does not listen";
    assert_refused(&[&scratch.endpoint("unix", "client")], words);
    client
        .connect(&SockAddr::unix(scratch.path("server")).unwrap())
        .unwrap();
    assert_refused(&[&scratch.endpoint("unix", "client")], words);
    assert_eq!(identity(&path), before);
    drop(server);
}

/// One of several servers that start at once. Killed when dropped.
struct Contender(Child);

impl Contender {
    fn start(endpoint: &str) -> Contender {
        let mut command = Command::new(common::binary());
        command
            .args(["serve", "-q", endpoint])
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Contender(command.spawn().unwrap())
    }

    /// Whether it serves. One that does prints a line; one that does not ends its output.
    fn is_serving(&mut self) -> bool {
        let mut line = String::new();
        let output = self.0.stdout.as_mut().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        line.starts_with("listening on ")
    }

    /// The exit status and the last words of one that does not serve.
    fn refusal(&mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        let errors = self.0.stderr.as_mut().unwrap();
        errors.read_to_string(&mut said).unwrap();
        (self.0.wait().unwrap().code(), said)
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts many servers on one path at once. One of them must serve, and each of the others must say
/// that it does not. Leaves a stale path.
#[track_caller]
fn assert_one_serves(scratch: &Scratch, scheme: &str, name: &str) {
    let endpoint = scratch.endpoint(scheme, name);
    let contenders: Vec<Contender> = (0..8).map(|_| Contender::start(&endpoint)).collect();
    let (mut serving, mut refused) = (Vec::new(), Vec::new());
    for mut contender in contenders {
        match contender.is_serving() {
            true => serving.push(contender),
            false => refused.push(contender),
        }
    }
    for contender in &mut refused {
        let (status, said) = contender.refusal();
        assert_eq!(status, Some(1), "{said}");
        assert!(said.contains("another server answers there"), "{said}");
    }
    assert_eq!(serving.len(), 1, "servers that say that they listen");
    match scheme {
        "unix" => assert_echoes(connect(&scratch.path(name)), b"reachable"),
        _ => {
            let client_path = scratch.path("client");
            let client = client(&client_path);
            assert_answers(&client, &scratch.path(name), b"reachable");
            std::fs::remove_file(client_path).unwrap();
        }
    }
}

#[test]
fn of_servers_that_start_together_on_one_path_exactly_one_serves() {
    let scratch = Scratch::new();
    for scheme in ["unix", "unixgram"] {
        // The first round finds no file, and the others find what the killed one left.
        for _ in 0..10 {
            assert_one_serves(&scratch, scheme, scheme);
        }
        let files: Vec<_> = std::fs::read_dir(scratch.path("")).unwrap().collect();
        assert_eq!(files.len(), 1, "no file but the socket: {files:?}");
        std::fs::remove_file(scratch.path(scheme)).unwrap();
    }
}

/// Any program may lock a directory that it can read, and keep the lock.
#[test]
fn a_lock_that_another_program_holds_does_not_keep_the_server_from_starting() {
    if !has_tool("flock") {
        return;
    }
    let scratch = Scratch::new();
    let mut holder = Command::new("flock")
        .arg(scratch.path(""))
        .args(["sh", "-c", "echo locked; exec cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(holder.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "locked\n");
    let server = Server::start(&[&scratch.endpoint("unix", "echo")]);
    assert_echoes(connect(&scratch.path("echo")), b"here");
    server.wait_for_log("another program keeps a lock on this directory");
    drop(holder.stdin.take());
    holder.wait().unwrap();
}

/// Each kind of live socket, and each kind of new one.
#[test]
fn a_live_socket_is_an_error_and_goes_on_unharmed() {
    let scratch = Scratch::new();
    let (stream, datagram) = (scratch.path("stream"), scratch.path("datagram"));
    let mut server = Server::start(&[
        &scratch.endpoint("unix", "stream"),
        &scratch.endpoint("unixgram", "datagram"),
    ]);
    let before = (identity(&stream), identity(&datagram));
    for scheme in ["unix", "unixgram"] {
        for name in ["stream", "datagram"] {
            assert_refused(
                &[&scratch.endpoint(scheme, name)],
                "address in use; another server answers there",
            );
        }
    }
    assert_eq!((identity(&stream), identity(&datagram)), before);
    assert_echoes(connect(&stream), b"unharmed");
    assert_answers(&client(&scratch.path("client")), &datagram, b"unharmed");
    assert_eq!(server.stop(), 0);
}

/// A live server that is too busy to accept is not dead, and must not hold up the new one.
#[test]
fn a_live_socket_with_a_full_backlog_is_live() {
    let scratch = Scratch::new();
    let path = scratch.path("busy");
    let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    listener.bind(&SockAddr::unix(&path).unwrap()).unwrap();
    listener.listen(0).unwrap();
    let full = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
            .connect(&SockAddr::unix(&path).unwrap())
            .map(|()| socket)
    };
    let waiting: Vec<_> = std::iter::from_fn(|| full().ok()).take(100).collect();
    assert!(waiting.len() < 100, "the backlog is full");
    assert_refused(&[&scratch.endpoint("unix", "busy")], "address in use");
    assert!(stands(&path));
}

#[test]
fn what_is_no_socket_is_an_error_and_never_touched() {
    let scratch = Scratch::new();
    let live = Server::start(&[&scratch.endpoint("unix", "live")]);
    std::fs::write(scratch.path("file"), "precious").unwrap();
    std::fs::create_dir(scratch.path("directory")).unwrap();
    symlink(scratch.path("nowhere"), scratch.path("dangling")).unwrap();
    symlink(scratch.path("live"), scratch.path("link")).unwrap();
    symlink(scratch.path("file"), scratch.path("link-to-file")).unwrap();
    for name in ["file", "directory", "dangling", "link", "link-to-file"] {
        let path = scratch.path(name);
        let before = identity(&path);
        for scheme in ["unix", "unixgram"] {
            assert_refused(
                &[&scratch.endpoint(scheme, name)],
                "something that is not a socket is there",
            );
        }
        assert_eq!(identity(&path), before, "{name}");
    }
    assert_eq!(std::fs::read(scratch.path("file")).unwrap(), b"precious");
    assert!(
        !stands(&scratch.path("nowhere")),
        "a dangling link is not followed"
    );
    assert_echoes(connect(&scratch.path("live")), b"unharmed");
    drop(live);
}

#[test]
fn a_directory_that_is_missing_is_named() {
    let scratch = Scratch::new();
    assert_refused(
        &[&scratch.endpoint("unix", "missing/socket")],
        "no such file or directory; the directory does not exist",
    );
    std::fs::write(scratch.path("file"), "").unwrap();
    assert_refused(
        &[&scratch.endpoint("unix", "file/socket")],
        "not a directory",
    );
}

/// `sun_path` holds 108 bytes, the zero at the end included.
#[test]
fn a_path_may_have_107_bytes_and_no_more() {
    let scratch = Scratch::new();
    let room = 107 - scratch.path("").as_os_str().len();
    let (longest, too_long) = ("x".repeat(room), "x".repeat(room + 1));
    let server = Server::start(&[&scratch.endpoint("unix", &longest)]);
    assert_echoes(connect(&scratch.path(&longest)), b"just short enough");
    drop(server);

    let (status, stdout, stderr) = run_to_end(&["serve", &scratch.endpoint("unixgram", &too_long)]);
    assert_eq!((status, stdout.as_str()), (2, ""));
    assert!(stderr.contains("longer than the 107 bytes"), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

#[test]
fn a_file_that_others_put_in_the_place_of_ours_is_left_at_the_end() {
    let scratch = Scratch::new();
    let (stream, datagram) = (scratch.path("stream"), scratch.path("datagram"));
    let mut server = Server::start(&[
        &scratch.endpoint("unix", "stream"),
        &scratch.endpoint("unixgram", "datagram"),
    ]);
    std::fs::remove_file(&stream).unwrap();
    let other = UnixListener::bind(&stream).unwrap();
    std::fs::remove_file(&datagram).unwrap();
    std::fs::write(&datagram, "precious").unwrap();
    assert_eq!(server.stop(), 0);
    assert!(stands(&stream), "the other's socket is left");
    assert_eq!(std::fs::read(&datagram).unwrap(), b"precious");
    UnixStream::connect(&stream).unwrap();
    drop(other);
}

/// A socket that is closed while its file stands looks dead. A server that starts in that instant
/// replaces the file. If the file system uses the inode number again at once, the old server takes
/// the new file for its own.
#[test]
fn the_file_is_removed_before_its_socket_is_closed() {
    if !has_tool("strace") {
        return;
    }
    let scratch = Scratch::new();
    let trace = scratch.path("trace");
    // With `-D` the server is the process that the test started. If tracing is forbidden, the
    // server starts without it.
    let words = format!(
        "strace -D -yy -e trace=close,unlink,unlinkat -o {}",
        trace.display()
    );
    let setup = format!("strace -o /dev/null true && exec {words} \"$0\" \"$@\"; true");
    let mut server = Server::start_after(
        &setup,
        &[
            &scratch.endpoint("unix", "stream"),
            &scratch.endpoint("unixgram", "datagram"),
        ],
    );
    assert_eq!(server.stop(), 0);
    if !stands(&trace) {
        eprintln!("skipped: nothing can be traced here");
        return;
    }
    let calls = eventually("the trace is complete", || {
        let calls = std::fs::read_to_string(&trace).unwrap();
        calls.contains("+++ exited").then_some(calls)
    });
    for name in ["stream", "datagram"] {
        let path = scratch.path(name).display().to_string();
        let of = |call: &str| {
            let found = calls
                .lines()
                .position(|line| line.starts_with(call) && line.contains(&path));
            found.unwrap_or_else(|| panic!("{call} of {path}:\n{calls}"))
        };
        assert!(of("unlink") < of("close"), "{name}:\n{calls}");
    }
}

#[test]
fn a_file_that_is_gone_already_is_no_trouble_at_the_end() {
    let scratch = Scratch::new();
    let mut server = Server::start(&[&scratch.endpoint("unix", "stream")]);
    std::fs::remove_file(scratch.path("stream")).unwrap();
    assert_eq!(server.stop(), 0);
    server.wait_for_log("stopped: ");
    assert!(!server.log().contains("cannot remove"), "{}", server.log());
}

#[test]
fn abstract_names_have_no_file() {
    let name = format!("mynah-test-{}", std::process::id());
    let (stream, datagram) = (format!("{name}-stream"), format!("{name}-datagram"));
    let endpoints = [format!("unix:@{stream}"), format!("unixgram:@{datagram}")];
    let mut server = Server::start(&[&endpoints[0], &endpoints[1]]);
    assert_eq!(server.endpoints, endpoints);
    let abstract_name = |name: &str| SocketAddr::from_abstract_name(name).unwrap();

    assert_echoes(
        with_deadline(UnixStream::connect_addr(&abstract_name(&stream)).unwrap()),
        b"abstract",
    );
    // The client's own name is abstract too, so the answer goes to an abstract name.
    let client = UnixDatagram::bind_addr(&abstract_name(&format!("{name}-client"))).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
        .send_to_addr(b"abstract", &abstract_name(&datagram))
        .unwrap();
    let mut got = [0; 64];
    let (size, from) = common::again(|| client.recv_from(&mut got)).unwrap();
    assert_eq!(
        (&got[..size], from.as_abstract_name()),
        (&b"abstract"[..], Some(datagram.as_bytes()))
    );

    assert_refused(&[&endpoints[0]], "address already in use");
    assert!(!stands(Path::new(&format!("@{stream}"))));
    assert_eq!(server.stop(), 0);
    assert_eq!(
        UnixStream::connect_addr(&abstract_name(&stream))
            .unwrap_err()
            .kind(),
        ErrorKind::ConnectionRefused
    );
}
