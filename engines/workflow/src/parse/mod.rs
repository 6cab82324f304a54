//! From a tree of nodes to a checked workflow: every key known, every name found, every expression compiled.

mod call;
mod failing;
mod fields;
mod reader;
mod task;

use crate::fault::{Fault, Place};
use crate::model::{BlockId, Definition, Template};
use crate::node::Node;
use fields::Fields;
use reader::{BASE_VARIABLES, Part, Reader, Use};
use std::collections::BTreeMap;
use std::sync::Arc;
use terms::Name;

/// What a document is called.
#[derive(Debug, Clone)]
pub(crate) struct Title {
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) version: Arc<str>,
}

/// A document, read.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) title: Title,
    pub(crate) definition: Definition,
    pub(crate) hosts: Vec<String>,
}

/// Reads the document in `root`.
pub(crate) fn parse(root: &Node, any_port: bool) -> Result<Parsed, Vec<Fault>> {
    let names = reader::variable_names(root);
    let mut reader = Reader::new(&names, any_port);
    let read = reader.document(&Place::root(root));
    if !reader.faults.is_empty() {
        return Err(reader.faults.into_vec());
    }
    let Reader { draft, blocks, tasks, hosts, reads_task, reads_workflow, mut faults, .. } = reader;
    let variables: Vec<&str> = BASE_VARIABLES.into_iter().chain(names.iter().map(String::as_str)).collect();
    let (Some(read), Some(program)) = (read, draft.compile(&variables)) else {
        faults.add("document", &Place::root(root), "the document could not be compiled");
        return Err(faults.into_vec());
    };
    let definition = Definition {
        blocks,
        tasks,
        root: read.root,
        input_from: read.input_from,
        output_as: read.output_as,
        timeout_ms: read.timeout_ms,
        program,
        slots: names.len(),
        reads_task,
        reads_workflow,
    };
    Ok(Parsed { title: read.title, definition, hosts: hosts.into_iter().collect() })
}

/// The workflow's own parts.
struct Read {
    title: Title,
    root: BlockId,
    input_from: Option<Template>,
    output_as: Option<Template>,
    timeout_ms: Option<u64>,
}

impl<'n> Reader<'n> {
    fn document(&mut self, place: &Place<'n>) -> Option<Read> {
        let mut map = Fields::open(place, "a workflow", &mut self.faults)?;
        let title = map.require("document", "a workflow", &mut self.faults);
        let body = map.require("do", "a workflow", &mut self.faults);
        let (parts, evaluate) = (map.take("use"), map.take("evaluate"));
        let (input, output, timeout) = (map.take("input"), map.take("output"), map.take("timeout"));
        map.finish("a workflow", &["schedule"], &mut self.faults);
        let title = title.and_then(|place| self.title(&place));
        if let Some(place) = evaluate {
            self.evaluate(&place);
        }
        if let Some(place) = parts {
            self.parts(&place);
        }
        let input_from = input.and_then(|place| self.wrapped_shape(&place, "from", Use::WorkflowInput));
        let output_as = output.and_then(|place| self.wrapped_shape(&place, "as", Use::Output));
        let timeout_ms = timeout.and_then(|place| self.timeout(&place));
        let root = body.and_then(|place| self.block(&place));
        self.unused_parts();
        Some(Read { title: title?, root: root?, input_from, output_as, timeout_ms })
    }

    fn title(&mut self, place: &Place<'n>) -> Option<Title> {
        let mut map = Fields::open(place, "`document`", &mut self.faults)?;
        let dsl = map.require("dsl", "`document`", &mut self.faults);
        let namespace = map.require("namespace", "`document`", &mut self.faults);
        let name = map.require("name", "`document`", &mut self.faults);
        let version = map.require("version", "`document`", &mut self.faults);
        for free in ["title", "summary"] {
            if let Some(place) = map.take(free) {
                fields::text(&place, free, &mut self.faults);
            }
        }
        for free in ["tags", "metadata"] {
            if let Some(place) = map.take(free) {
                fields::entries(&place, free, &mut self.faults);
            }
        }
        map.finish("`document`", &[], &mut self.faults);
        if let Some(place) = dsl
            && let Some(dsl) = fields::text(&place, "`dsl`", &mut self.faults)
            && !is_supported_dsl(dsl)
        {
            self.faults.add("dsl", &place, "`dsl` is a version that starts with 1.0., such as '1.0.0'");
        }
        let namespace = namespace.and_then(|place| self.name(&place, "`namespace`"));
        let name = name.and_then(|place| self.name(&place, "`name`"));
        let version = version.and_then(|place| self.version(&place));
        Some(Title { namespace: namespace?, name: name?, version: version? })
    }

    fn name(&mut self, place: &Place<'n>, what: &str) -> Option<Arc<str>> {
        let text = fields::text(place, what, &mut self.faults)?;
        match text.parse::<Name>() {
            Ok(name) => Some(name.as_str().into()),
            Err(error) => {
                self.faults.add("name", place, error.to_string());
                None
            }
        }
    }

    fn version(&mut self, place: &Place<'n>) -> Option<Arc<str>> {
        let text = fields::text(place, "`version`", &mut self.faults)?;
        if !is_semantic_version(text) {
            self.faults.add("version", place, "`version` is a semantic version, such as '1.2.0'");
            return None;
        }
        Some(text.into())
    }

    fn evaluate(&mut self, place: &Place<'n>) -> Option<()> {
        let mut map = Fields::open(place, "`evaluate`", &mut self.faults)?;
        for (key, supported) in [("language", "jq"), ("mode", "strict")] {
            if let Some(place) = map.take(key)
                && fields::text(&place, key, &mut self.faults).is_some_and(|text| text != supported)
            {
                self.faults.add(
                    "unsupported",
                    &place,
                    format!("`{key}` is `{supported}`; nothing else is supported"),
                );
            }
        }
        map.finish("`evaluate`", &[], &mut self.faults);
        Some(())
    }

    fn parts(&mut self, place: &Place<'n>) -> Option<()> {
        let mut map = Fields::open(place, "`use`", &mut self.faults)?;
        let (timeouts, errors, retries) = (map.take("timeouts"), map.take("errors"), map.take("retries"));
        let unsupported = ["authentications", "catalogs", "extensions", "functions", "secrets"];
        map.finish("`use`", &unsupported, &mut self.faults);
        for (name, place) in self.named(timeouts, "`timeouts`") {
            if let Some(ms) = self.timeout(&place) {
                self.named_timeouts.insert(name, ms);
            }
        }
        self.named_errors = self.named(errors, "`errors`").into_iter().collect();
        self.named_retries = self.named(retries, "`retries`").into_iter().collect();
        Some(())
    }

    fn named(&mut self, place: Option<Place<'n>>, what: &str) -> Vec<(&'n str, Place<'n>)> {
        place.and_then(|place| fields::entries(&place, what, &mut self.faults)).unwrap_or_default()
    }

    /// Errors and policies are read where they are used, with the variables there; those that nobody uses are
    /// read here.
    fn unused_parts(&mut self) {
        let used = std::mem::take(&mut self.used_names);
        let unused = |named: &BTreeMap<&'n str, Place<'n>>, part| {
            let unused = named.iter().filter(|(name, _)| !used.contains(&(part, **name)));
            unused.map(|(_, place)| place.clone()).collect::<Vec<_>>()
        };
        let errors = unused(&self.named_errors, Part::Error);
        let retries = unused(&self.named_retries, Part::Retry);
        for place in errors {
            self.error(&place);
        }
        let variable: Vec<_> = self.slot(None, "error").into_iter().collect();
        for place in retries {
            self.with(&variable, |reader| reader.retry_policy(&place));
        }
    }
}

fn is_supported_dsl(text: &str) -> bool {
    text.strip_prefix("1.0.")
        .is_some_and(|patch| !patch.is_empty() && patch.bytes().all(|b| b.is_ascii_digit()))
}

/// Whether `text` is a semantic version (semver.org, 2.0.0).
fn is_semantic_version(text: &str) -> bool {
    let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
    let (core, pre) = text.split_once('-').map_or((text, None), |(core, pre)| (core, Some(pre)));
    let identifiers = |text: &str| {
        text.split('.')
            .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
    };
    let number = |part: &str| {
        let digits = !part.is_empty() && part.len() <= 9 && part.bytes().all(|b| b.is_ascii_digit());
        digits && (part == "0" || !part.starts_with('0'))
    };
    let numbers: Vec<&str> = core.split('.').collect();
    numbers.len() == 3
        && numbers.into_iter().all(number)
        && pre.is_none_or(identifiers)
        && build.is_none_or(identifiers)
        && text.len() <= 64
}
