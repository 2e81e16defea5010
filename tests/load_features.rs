//! `mynah load` and what targets of all kinds ask of it: fields that tell datagrams apart, answers
//! that say how long they are, and hints where something was described otherwise than it is.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use common::{
    Scratch, Server, count, eventually, fates, has_tool, load, loopback, messages, run_to_end,
};
use serde_json::Value;

/// A question as DNS has it: an id of two bytes, then the rest.
const QUESTION: &str = r"\xAA\xBB\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01x\x00\x00\x01\x00\x01";

/// A target of datagrams: `answer` gets each question with its number, and says what goes back.
fn target(mut answer: impl FnMut(usize, &[u8]) -> Vec<Vec<u8>> + Send + 'static) -> String {
    let socket = UdpSocket::bind(loopback()).unwrap();
    let endpoint = format!("udp://{}", socket.local_addr().unwrap());
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        for number in 0.. {
            let (length, peer) = socket.recv_from(&mut buffer).unwrap();
            for answer in answer(number, &buffer[..length]) {
                socket.send_to(&answer, peer).unwrap();
            }
        }
    });
    endpoint
}

/// Answers as a resolver does: with the id of the question and a text of its own length. The third
/// question of ten stays without an answer, and the answers to the fifth and the sixth change places.
fn resolver() -> (String, Arc<Mutex<Vec<Vec<u8>>>>) {
    let questions = Arc::<Mutex<Vec<Vec<u8>>>>::default();
    let (heard, mut kept) = (Arc::clone(&questions), Vec::new());
    let endpoint = target(move |number, question| {
        heard.lock().unwrap().push(question.to_vec());
        let place = number % 10;
        let answer = [
            &question[..2],
            &b" is an answer of its own length"[..20 + place],
        ]
        .concat();
        match place {
            2 => vec![],
            4 => {
                kept = answer;
                vec![]
            }
            5 => vec![answer, std::mem::take(&mut kept)],
            _ => vec![answer],
        }
    });
    (endpoint, questions)
}

#[test]
fn one_lost_datagram_does_not_shift_the_answers_behind_it() {
    let (endpoint, questions) = resolver();
    let args = ["-c", "1", "-n", "500", "-r", "500", "--timeout", "500ms"];
    let question = ["--message", QUESTION, "--match", "0:2"];
    let (status, report, said) = load(&endpoint, &[&args[..], &question].concat());
    assert_eq!((status, said.as_str()), (0, ""));
    // lost, late, duplicate, reordered
    assert_eq!(fates(&report), [50, 0, 0, 50]);
    assert_eq!(messages(&report), [500, 450, 0, 0]);
    assert_eq!(count(&report, "/errors/total"), 0);
    assert_eq!(report["settings"]["match"], "field:0:2");
    assert_eq!(report["settings"]["response"], "datagram");
    // The ids count up, and the rest of the question is as it was given.
    let questions = questions.lock().unwrap();
    for (number, question) in questions.iter().enumerate() {
        let id = (number as u16).to_be_bytes();
        assert_eq!(question[..2], id);
        assert_eq!(
            question[2..],
            *b"\x01\0\0\x01\0\0\0\0\0\0\x01x\0\0\x01\0\x01"
        );
    }
    assert_eq!(questions.len(), 500);
}

#[test]
fn without_a_field_the_report_says_that_answers_are_matched_by_their_order() {
    let (endpoint, _) = resolver();
    let args = [
        "load",
        &endpoint,
        "-c",
        "1",
        "-n",
        "2",
        "--message",
        "abc",
        "--spoiled",
        "warn",
    ];
    let (_, table, _) = run_to_end(&args);
    assert!(
        table.contains("matched by their order, see --match"),
        "{table}"
    );
    let (_, table, _) = run_to_end(&[&args[..], &["--match", "0:2"]].concat());
    assert!(!table.contains("order,"), "{table}");
}

/// A byte tells 256 datagrams apart: no more are on their way, and none is taken for another.
#[test]
fn no_more_datagrams_are_on_their_way_than_a_field_tells_apart() {
    let mut kept = Vec::new();
    let endpoint = target(move |_, question| {
        kept.push(question.to_vec());
        if kept.len() < 256 {
            vec![]
        } else {
            std::mem::take(&mut kept)
        }
    });
    let (status, report, said) = load(
        &endpoint,
        &[
            "-c",
            "1",
            "-n",
            "2560",
            "-r",
            "5k",
            "--match",
            "9:1",
            "--verify",
            "--timeout",
            "5s",
        ],
    );
    assert_eq!((status, said.as_str()), (0, ""));
    assert_eq!(
        (messages(&report), fates(&report)),
        ([2560, 2560, 0, 0], [0; 4])
    );
    assert_eq!(count(&report, "/errors/total"), 0);
}

#[test]
fn the_field_may_stand_elsewhere_in_the_answer_and_the_rest_is_compared() {
    // The last two bytes of each move to its beginning, and one answer is damaged.
    let endpoint = target(|number, question| {
        let (head, tail) = question.split_at(question.len() - 2);
        let mut answer = [tail, head].concat();
        answer[3] ^= u8::from(number == 7);
        vec![answer]
    });
    let (status, report, said) = load(
        &endpoint,
        &[
            "-c",
            "1",
            "-n",
            "20",
            "--message",
            "abcd..",
            "--match",
            "4:2:0",
            "--expect",
            "??abcd",
        ],
    );
    assert_eq!(
        (status, said.as_str()),
        (8, "mynah: 1 answers were not as expected\n")
    );
    assert_eq!(
        (messages(&report), fates(&report)),
        ([20, 20, 0, 0], [0; 4])
    );
    assert_eq!(report["settings"]["match"], "field:4:2:0");
}

/// A redis-server on a socket of its own; `None`, with a word, where there is none.
fn redis(scratch: &Scratch) -> Option<(std::process::Child, String)> {
    if !has_tool("redis-server") {
        return None;
    }
    let path = scratch.path("redis.sock");
    let redis = Command::new("redis-server")
        .args([
            "--port",
            "0",
            "--save",
            "",
            "--daemonize",
            "no",
            "--unixsocket",
        ])
        .arg(&path)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    eventually("redis listens", || {
        std::os::unix::net::UnixStream::connect(&path).ok()
    });
    Some((redis, scratch.endpoint("unix", "redis.sock")))
}

#[test]
fn redis_answers_in_more_bytes_than_were_sent_and_the_hint_says_what_to_do() {
    let scratch = Scratch::new();
    let Some((mut redis, endpoint)) = redis(&scratch) else {
        return;
    };
    let args = [
        "load",
        &endpoint,
        "-c",
        "1",
        "-n",
        "50",
        "--spoiled",
        "warn",
    ];
    let (_, table, _) = run_to_end(&[&args[..], &["--message", "PING\r\n"]].concat());
    assert!(table.contains("unasked"), "{table}");
    assert!(
        table.contains("say where one ends: until:TEXT, fixed:N"),
        "{table}"
    );
    redis.kill().unwrap();
    redis.wait().unwrap();
}

#[test]
fn a_target_that_closes_after_each_answer_is_a_hint_at_churn() {
    let server = Server::start(&["tcp://127.0.0.1:0", "--reply", "{}", "--close"]);
    let endpoint = format!("tcp://{}", server.address(0));
    let args = [
        "load",
        &endpoint,
        "-c",
        "1",
        "-d",
        "200ms",
        "--spoiled",
        "warn",
    ];
    let (_, table, said) = run_to_end(&args);
    assert!(table.contains("closed early"), "{table}{said}");
    assert!(table.contains("add --churn"), "{table}{said}");
    // Nothing is left to be hinted at.
    let (_, table, said) = run_to_end(&[&args[..], &["--churn"]].concat());
    assert!(table.contains("no errors"), "{table}{said}");
}

/// Answers each byte `n` with `n` times a byte, behind their number as `write` writes it.
fn lengths(write: fn(u8) -> Vec<u8>) -> String {
    let listener = TcpListener::bind(loopback()).unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    let serve = move |mut stream: TcpStream| {
        stream.set_nodelay(true).unwrap();
        let mut byte = [0];
        while stream.read_exact(&mut byte).is_ok() {
            let answer = [write(byte[0]), vec![b'x'; byte[0].into()]].concat();
            // In two parts: what is read is no answer yet.
            let (head, tail) = answer.split_at(1);
            if stream
                .write_all(head)
                .and_then(|()| stream.write_all(tail))
                .is_err()
            {
                break;
            }
        }
    };
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || serve(stream.unwrap()));
        }
    });
    endpoint
}

#[test]
fn answers_say_how_long_they_are() {
    type Write = fn(u8) -> Vec<u8>;
    let widths: [(&str, Write); 5] = [
        ("u8", |n| vec![n]),
        ("u16", |n| u16::from(n).to_be_bytes().to_vec()),
        ("u32", |n| u32::from(n).to_be_bytes().to_vec()),
        ("u16le", |n| u16::from(n).to_le_bytes().to_vec()),
        ("u32le", |n| u32::from(n).to_le_bytes().to_vec()),
    ];
    for (width, write) in widths {
        let endpoint = lengths(write);
        let response = format!("prefix:{width}");
        for message in [r"\xF0", r"\x01", r"\x00"] {
            let args = ["-c", "2", "-n", "200", "--depth", "3", "--message", message];
            let (status, report, said) =
                load(&endpoint, &[&args[..], &["--response", &response]].concat());
            assert_eq!((status, said.as_str()), (0, ""), "{width} {message}");
            assert_eq!(messages(&report), [200, 200, 0, 0], "{width} {message}");
            assert_eq!(count(&report, "/errors/total"), 0, "{width} {message}");
            assert_eq!(
                report["settings"]["response"],
                Value::from(response.as_str())
            );
        }
    }
}

#[test]
fn an_answer_with_its_length_is_compared_whole() {
    let endpoint = lengths(|n| vec![n]);
    let run = |expect: &str| {
        let args = [
            "-c",
            "1",
            "-n",
            "9",
            "--message",
            r"\x03",
            "--response",
            "prefix:u8",
        ];
        let (status, report, _) = load(&endpoint, &[&args[..], &["--expect", expect]].concat());
        (status, count(&report, "/messages/wrong_bytes"))
    };
    assert_eq!(run(r"\x03xxx"), (0, 0));
    assert_eq!(run(r"\x03xyx"), (8, 9));
}

#[test]
fn the_lines_of_a_file_are_messages() {
    let scratch = Scratch::new();
    let file = scratch.path("lines");
    std::fs::write(&file, "one\nthe second\r\n3").unwrap();
    let file = file.to_str().unwrap();
    let server = Server::start(&["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]);
    let lines = ["--message-file", file, "--lines"];
    // Of each line as many as of the others.
    for (endpoint, bytes) in [
        (format!("tcp://{}", server.address(0)), 4 + 12 + 2),
        (format!("udp://{}", server.address(1)), 3 + 10 + 1),
    ] {
        for more in [
            &["-c", "3", "--verify"][..],
            &["-c", "1", "--depth", "5", "--verify"],
            &["-c", "3", "--response", "none"],
            &["-c", "1", "-r", "2k"],
        ] {
            let args = [&["-n", "300"][..], &lines, more].concat();
            let (status, report, said) = load(&endpoint, &args);
            assert_eq!((status, said.as_str()), (0, ""), "{endpoint} {more:?}");
            assert_eq!(count(&report, "/messages/due"), 300, "{endpoint} {more:?}");
            assert_eq!(count(&report, "/errors/total"), 0, "{endpoint} {more:?}");
            if more[1] == "1" && more[2] != "-r" {
                assert_eq!(
                    count(&report, "/bytes/sent"),
                    100 * bytes,
                    "{endpoint} {more:?}"
                );
            }
        }
    }
    let endpoint = format!("tcp://{}", server.address(0));
    for more in [&["--verify"][..], &["--response", "none"]] {
        let args = [&["-n", "300", "-c", "1", "--churn"][..], &lines, more].concat();
        let (status, report, said) = load(&endpoint, &args);
        assert_eq!((status, said.as_str()), (0, ""), "{more:?}");
        assert_eq!(count(&report, "/bytes/sent"), 100 * 18, "{more:?}");
    }
}

/// Each line is compared with its own answer.
#[test]
fn a_wrong_byte_among_lines_is_found() {
    let scratch = Scratch::new();
    let file = scratch.path("lines");
    std::fs::write(&file, "one\nthe second\n3\n").unwrap();
    let listener = TcpListener::bind(loopback()).unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut byte, mut position) = ([0], 0);
        while stream.read_exact(&mut byte).is_ok() {
            // In the second line.
            byte[0] ^= u8::from(position == 6);
            position += 1;
            if stream.write_all(&byte).is_err() {
                break;
            }
        }
    });
    let file = file.to_str().unwrap();
    let args = [
        "-c",
        "1",
        "-n",
        "6",
        "--message-file",
        file,
        "--lines",
        "--verify",
    ];
    let (status, report, _) = load(&endpoint, &args);
    assert_eq!((status, messages(&report)), (8, [6, 6, 0, 0]));
    let first = &report["errors"]["kinds"]["mismatch"]["first"];
    assert_eq!(
        first,
        "connection 0: byte 6 of what came back is not what was expected"
    );
    assert_eq!(count(&report, "/errors/total"), 1);
}

#[test]
fn an_empty_line_is_no_datagram() {
    let scratch = Scratch::new();
    let file = scratch.path("lines");
    std::fs::write(&file, "one\n\ntwo\n").unwrap();
    let file = file.to_str().unwrap();
    let args = [
        "load",
        "udp://127.0.0.1:9",
        "--message-file",
        file,
        "--lines",
    ];
    let (status, _, said) = run_to_end(&args);
    assert_eq!(status, 2);
    assert!(said.contains("line 2 is empty"), "{said}");
}

/// A target of lines that wants a word first: any other connection is reset. Answers `ok` to each
/// line behind it, and tells how many those were on each connection that has ended.
fn gate() -> (String, mpsc::Receiver<u64>) {
    let listener = TcpListener::bind(loopback()).unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    let (tell, counts) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, tell) = (stream.unwrap(), tell.clone());
            thread::spawn(move || {
                stream.set_nodelay(true).unwrap();
                let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
                if lines.next().as_deref() != Some("please") {
                    return common::reset(stream);
                }
                (&stream).write_all(b"welcome\n").unwrap();
                let answered = lines.map_while(|_| (&stream).write_all(b"ok\n").ok());
                // The test may be over.
                let _ = tell.send(answered.count() as u64);
            });
        }
    });
    (endpoint, counts)
}

const LINE: [&str; 4] = ["--message", "work\\n", "--response", "until:\\n"];
const PLEASE: [&str; 2] = ["--first-message", "please\\n"];

#[test]
fn the_first_message_of_a_connection_is_answered_and_not_measured() {
    for more in [
        &["-c", "4", "--depth", "3"][..],
        &["-c", "4", "-r", "1k"],
        &["-c", "4", "--churn"],
        &["-c", "4", "--lifetime", "5"],
    ] {
        let (endpoint, _counts) = gate();
        let args = [&["-n", "100"][..], &LINE, &PLEASE, more].concat();
        let (status, report, said) = load(&endpoint, &args);
        assert_eq!((status, said.as_str()), (0, ""), "{more:?}");
        assert_eq!(messages(&report), [100, 100, 0, 0], "{more:?}");
        assert_eq!(count(&report, "/errors/total"), 0, "{more:?}");
        assert_eq!(count(&report, "/settings/first_message_bytes"), 7);
    }
    // Without it, the target lets nobody in.
    let (endpoint, _counts) = gate();
    let args = [&["-c", "1", "-n", "1"][..], &LINE].concat();
    let (status, report, _) = load(&endpoint, &args);
    assert_eq!((status, count(&report, "/messages/answered")), (1, 0));
}

#[test]
fn a_first_message_without_an_answer_is_given_up() {
    let server = Server::start(&["tcp://127.0.0.1:0", "--service", "discard"]);
    let endpoint = format!("tcp://{}", server.address(0));
    let args = [
        "load",
        &endpoint,
        "-c",
        "1",
        "-n",
        "1",
        "--timeout",
        "100ms",
    ];
    let (status, _, said) = run_to_end(&[&args[..], &LINE, &PLEASE].concat());
    assert_eq!(status, 4, "{said}");
}

#[test]
fn a_connection_is_closed_after_so_many_messages() {
    for more in [&["--depth", "4"][..], &["-r", "2k"]] {
        let (endpoint, counts) = gate();
        let lifetime = ["-c", "1", "-n", "100", "--lifetime", "10"];
        let args = [&lifetime[..], &LINE, &PLEASE, more].concat();
        let (status, report, said) = load(&endpoint, &args);
        assert_eq!((status, said.as_str()), (0, ""), "{more:?}");
        assert_eq!(messages(&report), [100, 100, 0, 0], "{more:?}");
        assert_eq!(count(&report, "/connections/opened"), 10, "{more:?}");
        assert_eq!(count(&report, "/settings/lifetime_messages"), 10);
        for _ in 0..10 {
            assert_eq!(counts.recv_timeout(common::PATIENCE), Ok(10), "{more:?}");
        }
    }
    // Where no answer is waited for, all that was sent arrives.
    let server = Server::start(&["tcp://127.0.0.1:0", "--service", "discard"]);
    let endpoint = format!("tcp://{}", server.address(0));
    let args = [
        "-c",
        "1",
        "-n",
        "100",
        "--lifetime",
        "10",
        "--response",
        "none",
    ];
    let (status, report, said) = load(&endpoint, &args);
    assert_eq!((status, said.as_str()), (0, ""));
    assert_eq!(count(&report, "/messages/left"), 100);
    assert_eq!(count(&report, "/connections/opened"), 10);
}

#[test]
fn a_connection_is_closed_after_a_time_and_no_message_is_lost() {
    for more in [&["--depth", "4"][..], &["-r", "2k"], &["--think", "1ms"]] {
        let (endpoint, _counts) = gate();
        let lifetime = [
            "-c",
            "3",
            "-d",
            "1s",
            "--warmup",
            "off",
            "--lifetime",
            "50ms",
        ];
        let args = [&lifetime[..], &LINE, &PLEASE, more].concat();
        let (status, report, said) = load(&endpoint, &args);
        assert_eq!((status, said.as_str()), (0, ""), "{more:?}");
        assert_eq!(count(&report, "/errors/total"), 0, "{more:?}");
        let due = count(&report, "/messages/due");
        assert_eq!(count(&report, "/messages/answered"), due, "{more:?}");
        assert!(count(&report, "/connections/opened") > 6, "{more:?}");
    }
}

#[test]
fn redis_takes_a_first_message() {
    let scratch = Scratch::new();
    let Some((mut redis, endpoint)) = redis(&scratch) else {
        return;
    };
    let args = ["-c", "3", "-n", "300", "--depth", "5", "--lifetime", "20"];
    let ping = [
        "--message",
        r"PING\r\n",
        "--expect",
        r"+PONG\r\n",
        "--response",
        r"until:\r\n",
    ];
    let first = ["--first-message", r"CLIENT SETNAME load\r\n"];
    let (status, report, said) = load(&endpoint, &[&args[..], &ping, &first].concat());
    assert_eq!((status, said.as_str()), (0, ""));
    assert_eq!(messages(&report), [300, 300, 0, 0]);
    assert_eq!(count(&report, "/errors/total"), 0);
    redis.kill().unwrap();
    redis.wait().unwrap();
}

/// Answers `ok` to each line, and tells all lines.
fn recorder() -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind(loopback()).unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    let (tell, lines) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, tell) = (stream.unwrap(), tell.clone());
            thread::spawn(move || {
                stream.set_nodelay(true).unwrap();
                for line in BufReader::new(&stream).lines().map_while(Result::ok) {
                    tell.send(line).unwrap();
                    // One that waits for no answer may have gone.
                    let _ = (&stream).write_all(b"ok\n");
                }
            });
        }
    });
    (endpoint, lines)
}

#[test]
fn messages_have_numbers_where_the_template_says_so() {
    let template = ["--template", "--message", r"{{{conn}}} {seq}\n"];
    let until = ["--response", r"until:\n"];
    for more in [
        &["-c", "2", "--depth", "7", until[0], until[1]][..],
        &["-c", "2", "-r", "2k", until[0], until[1]],
        &["-c", "2", "--response", "none"],
        &["-c", "2", "--churn", until[0], until[1]],
        &["-c", "2", "--churn", "--response", "none"],
        &["-c", "2", "--lifetime", "300", "--response", "none"],
    ] {
        let (endpoint, lines) = recorder();
        let args = [&["-n", "300"][..], &template, more].concat();
        let (status, report, said) = load(&endpoint, &args);
        assert_eq!((status, said.as_str()), (0, ""), "{more:?}");
        assert_eq!(count(&report, "/errors/total"), 0, "{more:?}");
        assert_eq!(report["settings"]["template"], true);
        let next = || lines.recv_timeout(common::PATIENCE).unwrap();
        let mut lines: Vec<String> = (0..300).map(|_| next()).collect();
        lines.sort();
        lines.dedup();
        assert_eq!(lines.len(), 300, "{more:?}");
        assert!(lines.iter().any(|line| line == "{0} 1"), "{more:?}");
        let is_right = |line: &String| line.starts_with("{0} ") || line.starts_with("{1} ");
        assert!(lines.iter().all(is_right), "{more:?}");
    }
}

#[test]
fn datagrams_are_made_of_a_template_too() {
    let (tell, questions) = mpsc::channel();
    let endpoint = target(move |_, question| {
        tell.send(question.to_vec()).unwrap();
        vec![question.to_vec()]
    });
    let args = ["-c", "1", "-n", "200", "-r", "2k", "--match", "0:2"];
    let template = ["--template", "--message", "..{seq} {time}"];
    let (status, report, said) = load(&endpoint, &[&args[..], &template].concat());
    assert_eq!((status, said.as_str()), (0, ""));
    assert_eq!(
        (messages(&report), fates(&report)),
        ([200, 200, 0, 0], [0; 4])
    );
    for (number, question) in questions.iter().take(200).enumerate() {
        assert_eq!(question[..2], (number as u16).to_be_bytes());
        let rest = std::str::from_utf8(&question[2..]).unwrap();
        let (sequence, time) = rest.split_once(' ').unwrap();
        assert_eq!(sequence, (number + 1).to_string());
        assert!(time.starts_with("20") && time.ends_with('Z'), "{time}");
    }
}
