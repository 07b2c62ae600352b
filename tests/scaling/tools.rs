//! What needs no gateway: `simulate`, and `needs --plan`.

use crate::support::cli;
use std::fs;

#[test]
fn simulate_compares_and_draws() {
    let directory = tempfile::tempdir().unwrap();
    let load: String = (0..200).map(|n| format!("{} {}\n", n * 20, 10 + n % 50)).collect();
    fs::write(directory.path().join("load.txt"), load).unwrap();
    let arguments = ["simulate", "--recorded", "load.txt", "--plot", "plot.svg", "--target", "2m"];
    let asked = cli(directory.path(), &arguments);
    assert_eq!(asked.code, 0, "{asked:?}");
    for policy in ["load", "backlog", "original"] {
        let line = asked.stdout.lines().find(|line| line.split_whitespace().nth(1) == Some(policy));
        assert!(line.is_some_and(|line| line.contains('%') && line.contains('x')), "{}", asked.stdout);
    }
    let plot = fs::read_to_string(directory.path().join("plot.svg")).unwrap();
    assert!(plot.starts_with("<svg ") && plot.trim_end().ends_with("</svg>"));
    assert_eq!(plot.matches("<polyline").count(), 4, "what comes, and three policies");
    let asked = cli(directory.path(), &["simulate", "--pattern", "nothing"]);
    assert!(asked.code == 1 && asked.stderr.contains("diurnal"), "{asked:?}");
    fs::write(directory.path().join("load.txt"), "1 2\nx\n").unwrap();
    let asked = cli(directory.path(), &arguments);
    assert!(asked.code == 1 && asked.stderr.contains("load.txt: line 2"), "{asked:?}");
}

#[test]
fn a_plan_shows_its_arithmetic() {
    let directory = tempfile::tempdir().unwrap();
    let plan = ["needs", "--plan", "--rate", "200/min", "--service-time", "45s", "--target", "2m"];
    let asked = cli(directory.path(), &plan);
    assert!(asked.code == 0 && asked.stdout.contains("= 150.00 busy slots"), "{asked:?}");
    assert!(asked.stdout.contains("The first bottleneck is"), "{}", asked.stdout);
    let json = cli(directory.path(), &[&plan[..], &["--json"]].concat());
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert!(json["workers"].as_f64().is_some_and(|workers| workers > 150.0 && workers < 160.0), "{json}");
    assert_eq!(cli(directory.path(), &["needs", "--plan", "--rate", "5/week", "--service-time", "1s"]).code, 2);
    assert_eq!(cli(directory.path(), &["needs", "--plan"]).code, 2);
}
