//! `cargo vm bench --hyperlight` in real sandboxes: every figure is there. None of them is
//! asserted.

use std::{fs, process::Command};

use serde_json::{Value, json};

#[test]
fn each_figure_of_each_mode_is_measured_and_written() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let file = folder.path().join("figures.json");
    let output = Command::new(crate::PROGRAM)
        .args(["--hyperlight", "--no-install", "--samples", "2"])
        .arg("--json")
        .arg(&file)
        .output()
        .expect("it runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let table = String::from_utf8(output.stdout).expect("text");

    let text = fs::read_to_string(&file).expect("it is written");
    let document: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(document["schema"], 1);
    assert_eq!(document["kind"], "hyperlight");
    for package in ["dormir", "hyperlight-host", "hyperlight-guest-bin"] {
        assert!(document["versions"][package].is_string(), "{text}");
    }
    let rows = document["rows"].as_array().expect("rows");
    let is_host_call = |row: &&Value| row["case"] == "host_call";
    let (host_calls, rows): (Vec<_>, Vec<_>) = rows.iter().partition(is_host_call);
    for mode in ["hyperlight", "hyperlight-interrupts"] {
        let of_mode = host_calls.iter().filter(|row| row["mode"] == mode);
        let loads = of_mode.map(|row| {
            assert!(row["calls_per_second"].as_f64() > Some(0.0), "{row}");
            assert!(row["exits_per_call"].as_f64() > Some(0.0), "{row}");
            assert!(row["p50_ns"].as_u64() > Some(0), "{row}");
            assert!(row["p99_ns"].as_u64() >= row["p50_ns"].as_u64(), "{row}");
            let number = |name: &str| row[name].as_u64().expect("a number");
            let what = row["what"].as_str().expect("a name");
            (
                what,
                number("sandboxes"),
                number("in_flight"),
                number("bytes"),
            )
        });
        let loads: Vec<_> = loads.collect();
        let expected = [
            ("function", 1, 0, 0),
            ("function-block_on", 1, 0, 0),
            ("plain", 1, 1, 8),
            ("async", 1, 1, 8),
            ("async", 1, 10, 8),
            ("async", 1, 100, 8),
            ("async", 1, 1000, 8),
            ("async-linger-5ms", 1, 10, 8),
            ("poll_once", 1, 1, 8),
            ("poll_once", 1, 10, 8),
            ("poll_once", 1, 100, 8),
            ("poll_once", 20, 10, 8),
            ("plain", 1, 1, 40_960),
            ("async", 1, 1, 40_960),
            ("async", 1, 10, 40_960),
            ("async", 1, 100, 40_960),
        ];
        assert_eq!(loads, expected, "{text}");
    }
    let mut expected = Vec::new();
    for (mode, idles) in [
        ("hyperlight", &["wait-elapsed", "wait-processor"][..]),
        ("hyperlight-interrupts", &["tick-processor"]),
    ] {
        for what in ["plain", "host-function", "block_on"] {
            expected.push((mode, "call", what, Value::Null));
        }
        for what in idles {
            expected.push((mode, "idle", what, Value::Null));
        }
        for asked in [1_000_000, 10_000_000, 100_000_000] {
            for what in ["guest", "host"] {
                expected.push((mode, "sleep", what, json!(asked)));
            }
        }
        assert!(table.contains(&format!("\n{mode}:\n")), "{table}");
    }
    assert_eq!(rows.len(), expected.len(), "{text}");
    for (row, (mode, case, what, asked)) in rows.into_iter().zip(expected) {
        assert_eq!(row["vmm"], mode, "{row}");
        assert_eq!(row["case"], case, "{row}");
        assert_eq!(row["what"], what, "{row}");
        assert_eq!(row["asked_ns"], asked, "{row}");
        let histogram = row["histogram_ns"].as_array().expect("pairs");
        let samples: u64 = histogram.iter().filter_map(|pair| pair[1].as_u64()).sum();
        assert!(samples >= 2, "{row}");
        let is_of_time = |pair: &Value| pair[0].as_u64() > Some(0);
        // A difference of two times may be none.
        let is_plausible = case == "idle" || histogram.iter().all(is_of_time);
        assert!(is_plausible, "{row}");
    }
}
