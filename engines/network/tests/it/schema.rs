//! As much of JSON Schema as our schemas need; what a schema does not name may not be there.

use ipnet::Ipv4Net;
use serde_json::Value;

/// A schema's definitions.
pub(crate) struct Schema(Value);

impl Schema {
    pub(crate) fn new(text: &str) -> Self {
        Self(serde_json::from_str::<Value>(text).unwrap()["definitions"].take())
    }

    /// Everything in `value` that is not as the definition of this name says.
    pub(crate) fn faults(&self, definition: &str, value: &Value) -> Vec<String> {
        let mut faults = Vec::new();
        self.check(&self.0[definition], value, definition, &mut faults);
        faults
    }

    fn check(&self, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
        if let Some(name) = schema["$ref"].as_str() {
            assert!(self.0[name].is_object(), "no definition `{name}`");
            return self.check(&self.0[name], value, at, faults);
        }
        if let Some(allowed) = schema["enum"].as_array() {
            if !allowed.contains(value) {
                faults.push(format!("{at}: `{value}` is none of {allowed:?}"));
            }
            return;
        }
        let right = match schema["type"].as_str().unwrap() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.as_str().is_some_and(|text| matches(schema["pattern"].as_str(), text)),
            "boolean" => value.is_boolean(),
            "port" => value.as_u64().is_some_and(|port| port <= 65_535),
            other => panic!("no type `{other}`"),
        };
        if !right {
            return faults.push(format!("{at}: `{value}` is no {schema}"));
        }
        for (place, item) in value.as_array().into_iter().flatten().enumerate() {
            self.check(&schema["items"], item, &format!("{at}[{place}]"), faults);
        }
        for name in schema["required"].as_array().into_iter().flatten().map(|name| name.as_str().unwrap()) {
            if value.get(name).is_none() {
                faults.push(format!("{at}: `{name}` is missing"));
            }
        }
        for (name, item) in value.as_object().into_iter().flatten() {
            let inner = schema["properties"].get(name).or_else(|| schema.get("additionalProperties"));
            match inner {
                Some(inner) => self.check(inner, item, &format!("{at}.{name}"), faults),
                None => faults.push(format!("{at}: `{name}` is unknown")),
            }
        }
    }
}

fn matches(pattern: Option<&str>, text: &str) -> bool {
    let only = |extra: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(c));
    match pattern {
        None => true,
        Some("cidr") => text.parse::<Ipv4Net>().is_ok_and(|net| net.trunc() == net && text.contains('/')),
        Some("port") => text.parse::<u16>().is_ok_and(|port| port > 0),
        Some("dns-label") => {
            let ends_well = !text.starts_with('-') && !text.ends_with('-');
            (1..=63).contains(&text.len()) && only("-") && ends_well && !text.contains(char::is_uppercase)
        }
        Some("label-value") => text.len() <= 63 && only("-_."),
        Some("reference") => text.starts_with("${") && text.ends_with('}'),
        Some("aws-description") => (1..=255).contains(&text.len()) && only(" ._-:/()#,@[]+=&;{}!$*'"),
        Some(other) => panic!("no pattern `{other}`"),
    }
}
