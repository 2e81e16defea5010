//! Unix sockets: whose file it is, who may remove it, and who is answered.
//!
//! A path is shared ground: the file may be a dead server's, a live one's, or no socket at all. Our
//! file must come and go with the server, and no other may be touched.

mod common;

use std::io::{BufRead, BufReader, ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::{
    PATIENCE, Scratch, Server, TCP, assert_echoes, eventually, has_tool, pattern, run_to_end,
    stands,
};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use socket2::{Domain, SockAddr, Socket, Type};

fn connect(path: &Path) -> UnixStream {
    with_deadline(UnixStream::connect(path).unwrap())
}

fn with_deadline(stream: UnixStream) -> UnixStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A datagram client with a name, so that it can be answered.
fn client(path: &Path) -> UnixDatagram {
    let socket = UnixDatagram::bind(path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    socket
}

#[track_caller]
fn assert_answers(client: &UnixDatagram, server: &Path, message: &[u8]) {
    client.send_to(message, server).unwrap();
    let mut got = vec![0; message.len() + 1];
    let (size, from) = common::again(|| client.recv_from(&mut got)).unwrap();
    assert!(
        got[..size] == *message,
        "{size} bytes came back, not the {} that were sent",
        message.len()
    );
    assert_eq!(
        from.as_pathname(),
        Some(server),
        "the answer comes from the path that was asked"
    );
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

/// Identity of a file: it is still the same one, not another in its place.
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

/// A client's stream socket may have a name too. It does not listen, so it refuses as a dead server's
/// does, and yet a program uses it.
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

    drop(client);
    drop(server);
    let _server = Server::start(&[&scratch.endpoint("unix", "client")]);
    assert_echoes(connect(&path), b"stale now");
}

/// Starts many servers on one path at once. One of them must serve, and each of the others must say
/// that it does not.
#[track_caller]
fn assert_one_serves(scratch: &Scratch, scheme: &str, name: &str) {
    let start = || {
        Command::new(common::binary())
            .args(["serve", "-q", &scratch.endpoint(scheme, name)])
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let servers: Vec<Child> = (0..8).map(|_| start()).collect();
    // The first line tells who serves; the end of the output, who does not.
    let is_serving = |server: &mut Child| {
        let mut line = String::new();
        let output = server.stdout.as_mut().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        line.starts_with("listening on ")
    };
    let (mut serving, mut refused) = (Vec::new(), Vec::new());
    for mut server in servers {
        match is_serving(&mut server) {
            true => serving.push(server),
            false => refused.push(server),
        }
    }
    for server in refused {
        let output = server.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("another server answers there"), "{said}");
    }
    assert_eq!(serving.len(), 1, "servers that say that they listen");
    match scheme {
        "unix" => assert_echoes(connect(&scratch.path(name)), b"reachable"),
        _ => assert_answers(
            &client(&scratch.path("client")),
            &scratch.path(name),
            b"reachable",
        ),
    }
    let _ = std::fs::remove_file(scratch.path("client"));
    serving[0].kill().unwrap();
    serving[0].wait().unwrap();
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

/// The kernel says whether a datagram was cut, so one that fills the room exactly is known whole.
#[test]
fn the_longest_unix_datagram_that_is_answered_has_65_536_bytes() {
    let scratch = Scratch::new();
    let path = scratch.path("echo");
    let mut server = Server::start(&[&scratch.endpoint("unixgram", "echo")]);
    let client = client(&scratch.path("client"));
    assert_answers(&client, &path, &pattern(65_536, 6));
    client.send_to(&pattern(65_537, 7), &path).unwrap();
    assert_answers(&client, &path, b"the longer one is dropped whole");
    assert_eq!(server.stop(), 0);
    server.wait_for_log("dropped a datagram that is longer");
}

/// A peer may send descriptors along. If the server took them, the peer could exhaust its table.
#[test]
fn descriptors_that_come_with_a_datagram_stay_with_nobody() {
    let scratch = Scratch::new();
    let path = scratch.path("echo");
    let server = Server::start(&[&scratch.endpoint("unixgram", "echo")]);
    let client = client(&scratch.path("client"));
    client.connect(&path).unwrap();
    let before = server.descriptors();
    for _ in 0..20 {
        sendmsg::<()>(
            client.as_raw_fd(),
            &[IoSlice::new(b"take this")],
            &[ControlMessage::ScmRights(&[client.as_raw_fd()])],
            MsgFlags::empty(),
            None,
        )
        .unwrap();
        assert_eq!(common::again(|| client.recv(&mut [0; 64])).unwrap(), 9);
    }
    assert_eq!(server.descriptors(), before);
}

/// Of whatever kind the live socket is, and whichever kind is asked for.
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

/// A live server that is too busy to accept must not be taken for a dead one, nor hold the newcomer up.
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

/// A socket that is closed while its file still stands looks dead. A server that starts in that instant replaces the file, and where inode numbers
/// are used again at once, the one that ends would take the new file for its own.
#[test]
fn the_file_is_removed_before_its_socket_is_closed() {
    if !has_tool("strace") {
        return;
    }
    let scratch = Scratch::new();
    let trace = scratch.path("trace");
    // `-D` leaves the process that was started to the server; where tracing is forbidden, the server starts without.
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
    // The client's own name is abstract as well, so the answer has to find its way to one.
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

/// Nobody can be answered who has no name; it costs the server nothing and the others nothing.
#[test]
fn a_datagram_client_without_a_name_costs_nothing() {
    let scratch = Scratch::new();
    let path = scratch.path("echo");
    let mut server = Server::start(&[&scratch.endpoint("unixgram", "echo")]);
    let unbound = UnixDatagram::unbound().unwrap();
    let bound = client(&scratch.path("client"));
    for _ in 0..100 {
        unbound.send_to(b"who am I", &path).unwrap();
        assert_answers(&bound, &path, b"here I am");
    }
    // A name that is gone by the time of the answer is no better than none.
    for number in 0..100 {
        let name = scratch.path(&format!("short-lived-{number}"));
        client(&name).send_to(b"I am off", &path).unwrap();
        std::fs::remove_file(&name).unwrap();
    }
    assert_answers(&bound, &path, b"still here");
    assert_eq!(server.stop(), 0);
}

/// Names at the very limit of what the kernel takes: 107 bytes, and 108 without a zero at their end.
#[test]
fn a_datagram_client_with_the_longest_name_is_answered_or_does_no_harm() {
    let scratch = Scratch::new();
    let path = scratch.path("echo");
    let mut server = Server::start(&[&scratch.endpoint("unixgram", "echo")]);
    let room = 107 - scratch.path("").as_os_str().len();
    assert_answers(
        &client(&scratch.path(&"c".repeat(room))),
        &path,
        b"a long name",
    );

    let name: Vec<u8> = (0..107).collect();
    let client = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.send_to(b"every byte of it", &path).unwrap();
    assert_eq!(common::again(|| client.recv(&mut [0; 64])).unwrap(), 16);
    server.assert_running();
}

/// Fills the queue of a peer that does not read. Its replies wait in the server, a bounded number of them, and reach it later in their
/// order; meanwhile the others are answered as ever. The replies are small, because the kernel charges what a peer leaves unread to the socket
/// that sent it: four replies of 50 kB would fill ours for everybody, and no program can help that.
#[test]
fn a_datagram_peer_that_never_reads_holds_nobody_up_and_gets_its_replies_later() {
    let scratch = Scratch::new();
    let path = scratch.path("echo");
    let server = Server::start(&[&scratch.endpoint("unixgram", "echo")]);
    let stuck = client(&scratch.path("stuck"));
    let other = client(&scratch.path("other"));
    // The kernel queues net.unix.max_dgram_qlen of them, ten by default; the server has room for 256 more.
    let sent: Vec<Vec<u8>> = (0..350)
        .map(|number: u32| format!("reply {number}").into_bytes())
        .collect();
    let (before, meanwhile) = sent.split_at(200);
    for message in before {
        stuck.send_to(message, &path).unwrap();
        assert_answers(&other, &path, b"not held up");
    }
    server.assert_burns_nothing();
    // New replies find room at the peer while older ones still wait; they must not overtake them.
    let mut meanwhile = meanwhile.iter();
    for message in &sent {
        if let Some(message) = meanwhile.next() {
            stuck.send_to(message, &path).unwrap();
        }
        let mut got = [0; 64];
        let size = common::again(|| stuck.recv(&mut got)).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&got[..size]),
            String::from_utf8_lossy(message)
        );
    }
    assert_answers(&stuck, &path, b"all is well again");
}

/// What is queued for a peer that never reads is bounded, in bytes and in number; what is too much is dropped and counted.
#[test]
fn a_datagram_peer_that_never_reads_costs_a_bounded_queue() {
    let scratch = Scratch::new();
    let path = scratch.path("echo");
    let mut server = Server::start(&[&scratch.endpoint("unixgram", "echo")]);
    let stuck = client(&scratch.path("stuck"));
    let other = client(&scratch.path("other"));
    for _ in 0..20_000 {
        stuck.send_to(b"", &path).unwrap();
    }
    assert_answers(&other, &path, b"not held up");
    let before = server.resident();
    for _ in 0..20_000 {
        stuck.send_to(b"", &path).unwrap();
    }
    assert_answers(&other, &path, b"not held up either");
    common::assert_within(
        "growth in bytes",
        server.resident().saturating_sub(before),
        256 * 1024,
    );
    // The peer goes; what is queued for it has no receiver any more and must not be held for ever.
    drop(stuck);
    std::fs::remove_file(scratch.path("stuck")).unwrap();
    assert_eq!(server.stop(), 0);
    eventually("the counters", || {
        server.log().contains("datagrams overflowed").then_some(())
    });
}

/// The name of a peer need not be text.
#[test]
fn a_datagram_client_with_a_name_that_is_no_text_is_answered() {
    let scratch = Scratch::new();
    let path = scratch.path("echo");
    let _server = Server::start(&[&scratch.endpoint("unixgram", "echo")]);
    let name = scratch
        .path("")
        .join(std::ffi::OsStr::from_bytes(b"\xff\xfe name"));
    assert_answers(&client(&name), &path, b"bytes are bytes");
}
