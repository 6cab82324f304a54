//! JSON values as YAML in block style: what people expect to read and to review.

use serde_json::Value;

/// Several values as one stream of documents.
pub(super) fn stream(documents: &[Value]) -> String {
    let mut text = String::new();
    for document in documents {
        text.push_str("---\n");
        block(document, 0, &mut text);
    }
    text
}

/// Writes a value that begins on a line of its own.
fn block(value: &Value, depth: usize, text: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                indent(depth, text);
                text.push_str(&scalar(key));
                text.push(':');
                after(value, depth, text);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for item in list {
                indent(depth, text);
                text.push('-');
                after_dash(item, depth, text);
            }
        }
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => {
            indent(depth, text);
            text.push_str(&flow(value));
            text.push('\n');
        }
    }
}

/// Writes what stands behind a key.
fn after(value: &Value, depth: usize, text: &mut String) {
    if is_flow(value) {
        text.push(' ');
        text.push_str(&flow(value));
        text.push('\n');
    } else {
        text.push('\n');
        block(value, depth + 1, text);
    }
}

/// Writes what stands behind a dash: a map begins on the same line.
fn after_dash(value: &Value, depth: usize, text: &mut String) {
    if is_flow(value) {
        return after(value, depth, text);
    }
    let mut inner = String::new();
    block(value, depth + 1, &mut inner);
    text.push(' ');
    text.push_str(inner.trim_start());
}

fn is_flow(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

fn flow(value: &Value) -> String {
    match value {
        Value::String(word) => scalar(word),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    }
}

/// A text as it stands if nobody could take it for something else, and as JSON writes it otherwise.
fn scalar(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/');
    let starts_well = word.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
    let other_meaning = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    if starts_well && word.bytes().all(plain) && !other_meaning.contains(&word.to_ascii_lowercase().as_str())
    {
        return word.to_owned();
    }
    Value::String(word.to_owned()).to_string()
}

fn indent(depth: usize, text: &mut String) {
    (0..depth).for_each(|_| text.push_str("  "));
}
