//! The OpenAPI 3.1 document, written from the list of routes.

use crate::problem::{Code, MEDIA_TYPE, Problem};
use crate::route::{Auth, ROUTES, Route, SchemaOf};
use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// Writes the document. The same release always writes the same text.
#[must_use]
pub fn document() -> Value {
    let mut generator = SchemaSettings::draft2020_12()
        .with(|s| s.definitions_path = "/components/schemas".into())
        .into_generator();
    let mut paths: Map<String, Value> = Map::new();
    for route in ROUTES {
        let item = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Value::Object(item) = item {
            item.insert(route.method.to_owned(), operation(route, &mut generator));
        }
    }
    generator.subschema_for::<Problem>();
    let mut schemas = generator.take_definitions(true);
    schemas.sort_keys();
    let codes: Map<String, Value> =
        Code::ALL.iter().map(|c| (c.as_str().to_owned(), json!({ "status": c.status() }))).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Palisade control plane",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "operatorToken": { "type": "http", "scheme": "bearer" },
                "enrolmentToken": { "type": "http", "scheme": "bearer" },
                "workloadCertificate": { "type": "mutualTLS" },
            },
        },
        "x-problem-codes": codes,
    })
}

fn operation(route: &Route, generator: &mut SchemaGenerator) -> Value {
    let mut operation = Map::new();
    operation.insert("operationId".into(), json!(route.name));
    operation.insert("summary".into(), json!(route.summary));
    let mut parameters = path_parameters(route.path);
    if let Some(query) = route.query {
        parameters.extend(query_parameters(query));
    }
    if !parameters.is_empty() {
        operation.insert("parameters".into(), Value::Array(parameters));
    }
    if let Some(body) = route.body {
        let content = content(body(generator));
        operation.insert("requestBody".into(), json!({ "required": true, "content": content }));
    }
    let mut success = json!({ "description": route.summary });
    if let (Some(answer), Value::Object(success)) = (route.answer, &mut success) {
        success.insert("content".into(), content(answer(generator)));
    }
    let problem = json!({
        "description": "A problem (RFC 9457).",
        "content": { MEDIA_TYPE: { "schema": { "$ref": "#/components/schemas/Problem" } } },
    });
    operation.insert("responses".into(), json!({ route.status.to_string(): success, "default": problem }));
    operation.insert("security".into(), security(route.auth));
    Value::Object(operation)
}

/// A body: JSON, unless its schema names another media type.
fn content(schema: Schema) -> Value {
    let media_type = schema.get("contentMediaType").and_then(Value::as_str).unwrap_or("application/json");
    json!({ media_type: { "schema": schema } })
}

fn security(auth: Auth) -> Value {
    match auth {
        Auth::Public => json!([]),
        Auth::Permit(_) => json!([{ "operatorToken": [] }, { "workloadCertificate": [] }]),
        Auth::EnrolmentToken => json!([{ "enrolmentToken": [] }]),
    }
}

fn path_parameters(path: &str) -> Vec<Value> {
    path.split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect()
}

fn query_parameters(query: SchemaOf) -> Vec<Value> {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    let schema = query(&mut settings.into_generator());
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return Vec::new();
    };
    properties
        .iter()
        .map(|(name, schema)| {
            let required = required.contains(&name.as_str());
            json!({ "name": name, "in": "query", "required": required, "schema": schema })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a golden is rewritten on request")]
    fn the_document_is_the_committed_one() {
        let written = format!("{:#}\n", document());
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
        if std::env::var_os("UPDATE_GOLDENS").is_some() {
            std::fs::write(path, &written).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(committed == written, "openapi.json is stale: run UPDATE_GOLDENS=1 cargo test -p api");
    }

    #[test]
    fn every_reference_points_at_a_schema() {
        let document = document();
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(document.pointer(reference).is_some(), "{reference}");
        }
    }
}
