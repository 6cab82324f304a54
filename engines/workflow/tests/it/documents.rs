//! Documents: each vector says in its first line whether it is accepted, or which fault it has and where.

use crate::world::{document, parse};
use serde_json::json;
use std::path::Path;
use workflow::{Checks, DOCUMENT_BYTES_MAX, FAULTS_MAX, Workflow};

#[test]
fn every_vector_is_accepted_or_refused_as_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let mut wrong = Vec::new();
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let first = text.lines().next().unwrap().trim_start_matches('\u{feff}');
        let verdict = match Workflow::parse(text.as_bytes()) {
            Ok(_) => "# accepted".to_owned(),
            Err(faults) => {
                let fault = &faults[0];
                format!("# refused: {} {}:{} {}", fault.code, fault.line, fault.column, fault.pointer)
            }
        };
        seen += 1;
        if verdict.trim_end() != first.trim_end() {
            wrong.push(format!("{}: {verdict}, not {first}", path.file_name().unwrap().display()));
        }
    }
    assert!(seen > 90);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_document_reads_the_same_from_yaml_json_and_its_plan() {
    let yaml = parse(include_str!("../vectors/accepted-every-task.yaml"));
    let text = serde_json::to_vec_pretty(yaml.document()).unwrap();
    let json = Workflow::parse(&text).unwrap();
    let plan = Workflow::from_json(yaml.document()).unwrap();
    assert_eq!(json.document(), yaml.document());
    assert_eq!(plan.document(), yaml.document());
    assert_eq!((plan.namespace(), plan.name(), plan.version()), ("test", "test", "0.1.0"));
    assert_eq!(plan.hosts(), ["api.example.com"]);
}

#[test]
fn a_document_without_text_names_the_place_by_pointer() {
    let faults = Workflow::from_json(&json!({"document": {}, "do": [{"a": {"wait": 1}}]})).unwrap_err();
    assert!(faults.iter().all(|fault| fault.line == 0));
    let shown: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert!(shown.contains(&"/do/0/a/wait: a duration is a map, not a number".to_owned()), "{shown:?}");
}

#[test]
fn a_fault_in_a_text_names_line_and_column() {
    let faults = Workflow::parse(document("do:\n  - a: {emit: {}}\n").as_bytes()).unwrap_err();
    assert_eq!(faults[0].to_string(), "line 3, column 9: `emit` is not supported here; remove it");
}

#[test]
fn all_faults_of_a_document_are_told_at_once_up_to_a_bound() {
    let faults = Workflow::parse(b"document: {}\ndo: [{a: {wait: x}}, {b: {fork: 1}}]").unwrap_err();
    let codes: Vec<_> = faults.iter().map(|fault| fault.code).collect();
    assert_eq!(codes, ["missing", "missing", "missing", "missing", "duration", "unsupported"]);
    let many: String = (0..100).map(|i| format!("  - t{i}: {{wait: x}}\n")).collect();
    let faults = Workflow::parse(document(&format!("do:\n{many}")).as_bytes()).unwrap_err();
    assert_eq!(faults.len(), FAULTS_MAX);
}

#[test]
fn another_port_is_accepted_only_when_asked_for() {
    let text =
        document("do:\n  - a: {call: http, with: {method: get, endpoint: 'https://localhost:8443/x'}}\n");
    assert!(Workflow::parse(text.as_bytes()).is_err());
    let workflow = Workflow::parse_with(text.as_bytes(), Checks { any_port: true }).unwrap();
    assert_eq!(workflow.hosts(), ["localhost"]);
    assert!(Workflow::from_json(workflow.document()).is_err());
    assert!(Workflow::from_json_with(workflow.document(), Checks { any_port: true }).is_ok());
    for other in ["http://localhost:8443/", "https://127.0.0.1:8443/", "https://u@localhost:8443/"] {
        let text = text.replace("https://localhost:8443/x", other);
        assert!(Workflow::parse_with(text.as_bytes(), Checks { any_port: true }).is_err(), "{other}");
    }
}

#[test]
fn hosts_are_listed_once_in_order() {
    let call = |name: &str, endpoint: &str| {
        format!("  - {name}: {{call: http, with: {{method: get, endpoint: '{endpoint}'}}}}\n")
    };
    let text = [
        call("a", "https://b.example.com/x"),
        call("b", "https://a.example.com:443"),
        call("c", "https://B.example.com/{id}"),
        call("d", "${ \"https://c.example.com/\\(.id)\" }"),
    ];
    let workflow = parse(&document(&format!("do:\n{}", text.concat())));
    assert_eq!(workflow.hosts(), ["a.example.com", "b.example.com", "c.example.com"]);
}

#[test]
fn a_document_beyond_the_bounds_of_text_is_refused_also_as_json() {
    let mut deep = json!(1);
    for _ in 0..60 {
        deep = json!([deep]);
    }
    let mut document = parse(&document("do:\n  - a: {set: {x: 1}}\n")).document().clone();
    document["do"][0]["a"]["set"]["x"] = deep;
    assert_eq!(Workflow::from_json(&document).unwrap_err()[0].code, "too-large");
    let long = vec![b' '; DOCUMENT_BYTES_MAX + 1];
    assert_eq!(Workflow::parse(&long).unwrap_err()[0].code, "too-large");
}
