//! Natives that work on text.

use super::arithmetic::split;
use super::meter;
use super::natives::{Entry, Outcome, into_list, reads, reads_with, unless_stopped};
use super::value::{Value, length};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jaq_core::Error;
use std::fmt::Write as _;
use terms::Timestamp;

pub(crate) fn natives() -> Vec<Entry> {
    vec![
        reads!("tojson", |value: Value| unless_stopped(value.to_json())),
        reads!("fromjson", |value: Value| from_json(&value)),
        reads!("explode", |value: Value| Ok(text(&value)?
            .chars()
            .map(|c| Value::Int(u32::from(c).into()))
            .collect())),
        reads!("implode", implode),
        reads!("utf8bytelength", |value: Value| Ok(Value::count(text(&value)?.len()))),
        reads!("ascii_downcase", |value: Value| Ok(Value::text(text(&value)?.to_ascii_lowercase()))),
        reads!("ascii_upcase", |value: Value| Ok(Value::text(text(&value)?.to_ascii_uppercase()))),
        reads!("trim", |value: Value| Ok(Value::text(text(&value)?.trim()))),
        reads!("ltrim", |value: Value| Ok(Value::text(text(&value)?.trim_start()))),
        reads!("rtrim", |value: Value| Ok(Value::text(text(&value)?.trim_end()))),
        reads_with!("startswith", |value: Value, part: Value| Ok(text(&value)?
            .starts_with(text(&part)?)
            .into())),
        reads_with!("endswith", |value: Value, part: Value| Ok(text(&value)?.ends_with(text(&part)?).into())),
        reads_with!("ltrimstr", |value: Value, part: Value| Ok(
            without(value, &part, |whole, part| whole.strip_prefix(part))
        )),
        reads_with!("rtrimstr", |value: Value, part: Value| Ok(
            without(value, &part, |whole, part| whole.strip_suffix(part))
        )),
        reads_with!("split", |value: Value, part: Value| Ok(split(text(&value)?, text(&part)?))),
        reads_with!("join", |value: Value, part: Value| join(value, &part)),
        reads_with!("indices", |whole: Value, part: Value| indices(&whole, &part)),
        reads!("_html", |value: Value| Ok(Value::text(escape(text(&value)?, html)))),
        reads!("_uri", |value: Value| Ok(Value::text(percent_encode(text(&value)?)))),
        reads!("_base64", |value: Value| Ok(Value::text(STANDARD.encode(text(&value)?)))),
        reads!("_base64d", |value: Value| from_base64(&value)),
        reads!("_sh", |value: Value| row(value, " ", sh)),
        reads!("_csv", |value: Value| row(value, ",", csv)),
        reads!("_tsv", |value: Value| row(value, "\t", tsv)),
        reads!("todateiso8601", |value: Value| to_date(&value)),
        reads!("fromdateiso8601", |value: Value| from_date(&value)),
    ]
}

pub(crate) fn text(value: &Value) -> Result<&str, Error<Value>> {
    value.as_text().ok_or_else(|| Error::typ(value.clone(), "string"))
}

fn from_json(value: &Value) -> Outcome {
    let json: serde_json::Value = serde_json::from_str(text(value)?)
        .map_err(|error| Error::str(format_args!("{value} is not JSON: {error}")))?;
    unless_stopped(Value::from(&json))
}

fn implode(value: Value) -> Outcome {
    let list = into_list(value)?;
    let chars = list.items().iter().map(|item| {
        let code = item.as_int().and_then(|code| u32::try_from(code).ok());
        code.and_then(char::from_u32)
            .ok_or_else(|| Error::str(format_args!("{item} is not a character's number")))
    });
    Ok(Value::text(chars.collect::<Result<String, _>>()?))
}

/// Cuts `part` off where it is; anything else stays as it is, as in jq.
fn without(value: Value, part: &Value, strip: for<'a> fn(&'a str, &str) -> Option<&'a str>) -> Value {
    match (value.as_text(), part.as_text()) {
        (Some(whole), Some(part)) => strip(whole, part).map(Value::text).unwrap_or(value),
        _ => value,
    }
}

fn join(value: Value, separator: &Value) -> Outcome {
    let list = into_list(value)?;
    let mut out = String::new();
    for (i, item) in list.items().iter().enumerate() {
        if i > 0 {
            out.push_str(text(separator)?);
        }
        match item {
            Value::Null => {}
            Value::Text(text) => out.push_str(text),
            Value::Bool(_) | Value::Int(_) | Value::Float(_) => out.push_str(&item.to_string()),
            other => return Err(Error::typ(other.clone(), "string")),
        }
        if !meter::admit(length(out.len()), 1) {
            break;
        }
    }
    unless_stopped(Value::text(out))
}

/// Where `part` begins in `whole`: by characters in text, by items in lists.
fn indices(whole: &Value, part: &Value) -> Outcome {
    let found = match (whole, part) {
        (Value::Null, _) => return Ok(Value::Null),
        (Value::Text(whole), Value::Text(part)) if !part.is_empty() => whole
            .char_indices()
            .enumerate()
            .filter(|(_, (at, _))| whole.get(*at..).is_some_and(|rest| rest.starts_with(&**part)))
            .map(|(i, _)| Value::count(i))
            .collect(),
        (Value::List(whole), Value::List(part)) if !part.items().is_empty() => whole
            .items()
            .windows(part.items().len())
            .enumerate()
            .filter(|(_, window)| *window == part.items())
            .map(|(i, _)| Value::count(i))
            .collect(),
        (Value::Text(_), Value::Text(_)) | (Value::List(_), Value::List(_)) => Value::Null,
        (Value::List(whole), part) => whole
            .items()
            .iter()
            .enumerate()
            .filter(|(_, item)| *item == part)
            .map(|(i, _)| Value::count(i))
            .collect(),
        _ => return Err(Error::index(whole.clone(), part.clone())),
    };
    Ok(found)
}

fn escape(text: &str, of: fn(char) -> Option<&'static str>) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match of(c) {
            Some(escaped) => out.push_str(escaped),
            None => out.push(c),
        }
    }
    out
}

const fn html(c: char) -> Option<&'static str> {
    match c {
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        '&' => Some("&amp;"),
        '\'' => Some("&#39;"),
        '"' => Some("&quot;"),
        _ => None,
    }
}

/// Percent-encodes everything but the unreserved characters (RFC 3986, section 2.3).
pub(crate) fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing to a String can't fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn from_base64(value: &Value) -> Outcome {
    let bytes = STANDARD
        .decode(text(value)?)
        .map_err(|error| Error::str(format_args!("{value} is not base64: {error}")))?;
    Ok(Value::text(String::from_utf8_lossy(&bytes).into_owned()))
}

/// A list written in one line, each item by `cell`.
fn row(value: Value, separator: &str, cell: fn(&Value) -> Option<String>) -> Outcome {
    let single;
    let items = match &value {
        Value::List(list) => list.items(),
        other => {
            single = [other.clone()];
            &single
        }
    };
    let mut out = String::new();
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push_str(separator);
        }
        let written = cell(item).ok_or_else(|| Error::typ(item.clone(), "cell of a row"))?;
        out.push_str(&written);
    }
    Ok(Value::text(out))
}

fn scalar(value: &Value) -> Option<String> {
    matches!(value, Value::Bool(_) | Value::Int(_) | Value::Float(_)).then(|| value.to_string())
}

fn sh(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(format!("'{}'", text.replace('\'', r"'\''"))),
        Value::Null => Some("null".to_owned()),
        other => scalar(other),
    }
}

fn csv(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(format!("\"{}\"", text.replace('"', "\"\""))),
        Value::Null => Some(String::new()),
        other => scalar(other),
    }
}

fn tsv(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => {
            Some(text.replace('\\', r"\\").replace('\t', r"\t").replace('\n', r"\n").replace('\r', r"\r"))
        }
        Value::Null => Some(String::new()),
        other => scalar(other),
    }
}

fn to_date(value: &Value) -> Outcome {
    let seconds = value.as_int().ok_or_else(|| Error::typ(value.clone(), "number"))?;
    Ok(Value::text(Timestamp::from_unix_s(seconds).to_string()))
}

fn from_date(value: &Value) -> Outcome {
    let at: Timestamp = text(value)?.parse().map_err(Error::str)?;
    Ok(Value::Int(at.unix_s()))
}
