//! The document.

use super::{super::versions_for_test, *};
use serde_json::{Value, json};

#[test]
fn the_document_has_the_layout_that_others_read() {
    let count = |runtime: &str, capacity, cpus: Option<&str>, worst| Count {
        runtime: runtime.into(),
        case: "wake_poll".into(),
        n: 4096,
        capacity,
        cpus: cpus.map(str::to_owned),
        timer: None,
        instructions: 41.0,
        worst,
    };
    let counts = [
        count("dormir", Some(4096), Some("single"), Some(44)),
        count("futures-unordered", None, None, None),
        Count {
            case: "isr_to_poll".into(),
            timer: Some("pit".into()),
            ..count("dormir", Some(64), Some("shared"), Some(41))
        },
    ];
    let exits = Exits {
        runtime: "dormir".into(),
        timer: "pit".into(),
        tasks: 1,
        slack_ns: 0,
        sleeps: 18,
        alarm_writes: 2.0,
        halts: 1.0,
        eois: 1.0,
        others: Some(0.0),
    };
    let document = CountsDocument {
        date: Some("2026-01-02T03:04:05Z".into()),
        counts: counts.into(),
        exits: vec![exits],
        ..CountsDocument::new(Host::for_test(), versions_for_test())
    };
    let text = document.to_json().expect("it can be written");
    let read: Value = serde_json::from_str(&text).expect("JSON");
    let expected = json!({
        "schema": 1,
        "date": "2026-01-02T03:04:05Z",
        "host": {"cpu": "A processor", "kernel": null, "kvm_module": "kvm_pvm",
                 "hardware_assisted": false, "halt_poll_ns": 200_000, "qemu": null},
        "counts": [
            {"runtime": "dormir", "case": "wake_poll", "n": 4096, "capacity": 4096,
             "cpus": "single", "instructions": 41.0, "worst": 44},
            {"runtime": "futures-unordered", "case": "wake_poll", "n": 4096, "capacity": null,
             "cpus": null, "instructions": 41.0},
            {"runtime": "dormir", "case": "isr_to_poll", "n": 4096, "capacity": 64,
             "cpus": "shared", "timer": "pit", "instructions": 41.0, "worst": 41},
        ],
        "exits": [
            {"runtime": "dormir", "timer": "pit", "tasks": 1, "slack_ns": 0, "sleeps": 18,
             "alarm_writes": 2.0, "halts": 1.0, "eois": 1.0, "others": 0.0},
        ],
        "versions": {"rustc": "9.8.7"},
    });
    assert_eq!(read, expected);
    let again: CountsDocument = serde_json::from_str(&text).expect("it can be read");
    assert_eq!(again, document);
    assert!(text.contains("\"instructions\": 41.0\n"), "{text}");
    assert!(text.ends_with("}\n"), "{text}");
}
