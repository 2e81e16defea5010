//! The JSON reports of `mynah load` and `mynah report`, held against the schema that is published.
//!
//! The validator knows the words that the schema uses, and fails on any other. It is stricter than
//! the schema: a field that the schema does not name fails too, so that none is added in silence.

mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use common::{Scratch, Server, json, run_to_end};
use serde_json::Value;

fn schema() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/load.schema.json");
    json(&std::fs::read_to_string(path).unwrap())
}

/// What is wrong with `value` by `rule`, a part of `schema`.
fn faults(schema: &Value, rule: &Value, value: &Value, path: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (word, rule_of_word) in rule.as_object().unwrap() {
        let fault = |why: String| vec![format!("{path}: {why}: {value}")];
        found.extend(match word.as_str() {
            "$schema" | "$defs" | "title" | "description" => Vec::new(),
            "$ref" => {
                let name = rule_of_word.as_str().unwrap().strip_prefix('#').unwrap();
                faults(schema, schema.pointer(name).unwrap(), value, path)
            }
            "oneOf" => {
                let rules = rule_of_word.as_array().unwrap();
                let name = value["schema"].as_str().unwrap_or("");
                let of_kind = rules.iter().find(|rule| {
                    let name_of = rule["$ref"].as_str().unwrap().rsplit('/').next().unwrap();
                    name == format!("mynah-{name_of}")
                });
                let none = || fault("no such report".to_owned());
                of_kind.map_or_else(none, |rule| faults(schema, rule, value, name))
            }
            "const" if value == rule_of_word => Vec::new(),
            "const" => fault(format!("is not {rule_of_word}")),
            "enum" if rule_of_word.as_array().unwrap().contains(value) => Vec::new(),
            "enum" => fault(format!("is none of {rule_of_word}")),
            "minimum" if !value.is_number() || value.as_f64() >= rule_of_word.as_f64() => {
                Vec::new()
            }
            "minimum" => fault("is below zero".to_owned()),
            "type" if has_type(rule_of_word, value) => Vec::new(),
            "type" => fault(format!("is no {rule_of_word}")),
            "required" => {
                let names = rule_of_word.as_array().unwrap().iter();
                let is_missing = |name: &&Value| {
                    value.is_object() && value.get(name.as_str().unwrap()).is_none()
                };
                let missing = names.filter(is_missing);
                missing
                    .map(|name| format!("{path}: has no {name}"))
                    .collect()
            }
            "items" => {
                let items = value.as_array().into_iter().flatten();
                items
                    .flat_map(|item| faults(schema, rule_of_word, item, &format!("{path}[]")))
                    .collect()
            }
            "properties" | "additionalProperties" => {
                let own = rule.get("properties");
                let others = rule.get("additionalProperties");
                let members = value.as_object().into_iter().flatten();
                let of_member = |(name, member): (&String, &Value)| {
                    let path = format!("{path}.{name}");
                    match own.and_then(|own| own.get(name)).or(others) {
                        Some(rule) => faults(schema, rule, member, &path),
                        None => vec![format!("{path}: schema/load.schema.json does not name it")],
                    }
                };
                // Both words are looked at by the first of them.
                let is_second = word == "properties" && others.is_some();
                if is_second {
                    Vec::new()
                } else {
                    members.flat_map(of_member).collect()
                }
            }
            other => panic!("this validator does not know the word {other}"),
        });
    }
    found
}

fn has_type(rule: &Value, value: &Value) -> bool {
    let name = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_u64() || number.is_i64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let allows = |rule: &Value| rule == name || rule == "number" && name == "integer";
    rule.as_array()
        .map_or_else(|| allows(rule), |rules| rules.iter().any(allows))
}

/// A report of every kind of run; each with what it is for.
fn reports() -> Vec<Value> {
    let (scratch, server) = (
        Scratch::new(),
        Server::start(&["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]),
    );
    let (tcp, udp) = (
        format!("tcp://{}", server.address(0)),
        format!("udp://{}", server.address(1)),
    );
    let log = scratch.path("log").to_str().unwrap().to_owned();
    let copy = scratch.path("copy").to_str().unwrap().to_owned();
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_secs();
    let start_at = format!("{}.25", now + 3);
    let runs: [&[&str]; 11] = [
        &["load", &tcp, "--requests", "2000", "-c", "2", "--hdr", &log],
        &[
            "load",
            &udp,
            "--duration",
            "1200ms",
            "--warmup",
            "100ms",
            "--rate",
            "100.5",
            "-c",
            "2",
            "--depth",
            "3",
            "--require",
            "p99<10s",
            "--require",
            "rate>0.1",
        ],
        &[
            "load",
            &tcp,
            "--requests",
            "10",
            "-c",
            "2",
            "--message",
            "a",
            "--expect",
            "b",
            "--source",
            "127.0.0.2",
            "--connect-rate",
            "100.5",
            "--timeout",
            "off",
        ],
        &[
            "load",
            &tcp,
            "--stage",
            "0..500:100ms",
            "--label",
            "a name",
            "--spin",
            "off",
            "--start-at",
            &start_at,
        ],
        &["load", &tcp, "--churn", "--requests", "20", "-c", "2"],
        &[
            "load",
            &tcp,
            "--response",
            "none",
            "--requests",
            "20",
            "-c",
            "2",
            "--threads",
            "2",
        ],
        // Nobody answers in time.
        &[
            "load",
            &tcp,
            "--requests",
            "2",
            "-c",
            "2",
            "--response",
            "until:x",
            "--message",
            "abc",
            "--timeout",
            "50ms",
        ],
        &[
            "load",
            &tcp,
            "--find",
            "p50<1ns",
            "--duration",
            "20ms",
            "--warmup",
            "off",
            "-c",
            "1",
        ],
        &[
            "load",
            &tcp,
            "--find",
            "p50<3600s",
            "--duration",
            "20ms",
            "--warmup",
            "off",
            "-c",
            "1",
        ],
        &["report", &log],
        &["report", &log, &copy, "--sequential"],
    ];
    runs.iter()
        .map(|args| {
            if args.contains(&copy.as_str()) {
                std::fs::copy(&log, &copy).unwrap();
            }
            let (_, printed, said) = run_to_end(&[*args, &["--json", "-"]].concat());
            assert!(printed.starts_with('{'), "{args:?}: {printed} {said}");
            json(&printed)
        })
        .collect()
}

/// Scripts depend on it: no field is ever taken away, renamed, or given another kind of value.
#[test]
fn every_kind_of_report_is_as_the_published_schema_says() {
    let (schema, reports) = (schema(), reports());
    let kinds: BTreeSet<&str> = reports
        .iter()
        .filter_map(|report| report["schema"].as_str())
        .collect();
    assert_eq!(
        Vec::from_iter(kinds),
        ["mynah-find", "mynah-load", "mynah-report"]
    );
    for report in &reports {
        let faults = faults(&schema, &schema, report, "");
        assert!(faults.is_empty(), "{faults:#?}");
    }
    let none_in_time = &reports[6]["times_nanoseconds"]["response"];
    assert!(none_in_time["at_least"]["max"].is_u64(), "{none_in_time}");
    by_another_validator(&reports);
}

/// What the validator must find, it finds.
#[test]
fn the_validator_sees_what_is_wrong() {
    let schema = schema();
    let sound = serde_json::json!({
        "schema": "mynah-report", "version": 1, "mynah": "0", "files": ["a"], "labels": [null],
        "sequential": false, "measured_seconds": 1.5, "rate_per_second": 2, "answers": 3,
        "unanswered": 0, "errors": null, "response_nanoseconds": {"p50": 7},
        "service_nanoseconds": {},
    });
    assert_eq!(faults(&schema, &schema, &sound, ""), [""; 0]);
    for (field, value) in [
        ("schema", Value::from("mynah")),
        ("version", Value::from(2)),
        ("files", Value::from(vec![1])),
        ("answers", Value::from(1.5)),
        ("answers", Value::from(-1)),
        ("answers", Value::Null),
        ("response_nanoseconds", serde_json::json!({"p50": "7"})),
        ("new", Value::from(1)),
    ] {
        let mut broken = sound.clone();
        broken[field] = value;
        assert_eq!(faults(&schema, &schema, &broken, "").len(), 1, "{field}");
    }
    let mut broken = sound.clone();
    broken.as_object_mut().unwrap().remove("labels");
    assert_eq!(faults(&schema, &schema, &broken, "").len(), 1);
}

/// The same by the library `jsonschema` of Python, where it is there.
fn by_another_validator(reports: &[Value]) {
    const CHECK: &str = "import json, sys, jsonschema\n\
        schema = json.load(open('schema/load.schema.json'))\n\
        jsonschema.Draft202012Validator.check_schema(schema)\n\
        [jsonschema.validate(report, schema) for report in json.load(open(sys.argv[1]))]\n";
    let python = |args: &[&str]| {
        Command::new("python3")
            .args(args)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
    };
    if !python(&["-c", "import jsonschema"]).is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no Python has the library jsonschema");
        return;
    }
    let scratch = Scratch::new();
    let file = scratch.path("reports");
    std::fs::write(&file, serde_json::to_string(reports).unwrap()).unwrap();
    let output = python(&["-c", CHECK, file.to_str().unwrap()]).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}
