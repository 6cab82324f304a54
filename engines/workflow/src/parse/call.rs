//! Reads `call: http`. The origin is a literal, so that the hosts a workflow reaches are known before it runs.

use super::fields::{self, Fields};
use super::reader::{Reader, Use, unwrapped};
use crate::HttpOutput;
use crate::fault::Place;
use crate::jq;
use crate::model::{Action, Call, Endpoint, Target, Template, UriPart};
use crate::node::Kind;
use terms::HostPattern;
use url::Url;

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
/// Headers that the connection sets itself, or that would let a request be read in two ways.
const OWN_HEADERS: [&str; 11] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// Calls of the language that this platform does not make.
const OTHER_CALLS: [&str; 6] = ["grpc", "openapi", "asyncapi", "a2a", "mcp", "function"];

impl<'n> Reader<'n> {
    pub(crate) fn call(&mut self, place: &Place<'n>, task: &mut Fields<'n>) -> Option<Action> {
        let with = task.take("with");
        let name = fields::text(place, "`call`", &mut self.faults)?;
        if name != "http" {
            let message = if OTHER_CALLS.contains(&name) {
                format!("`call: {name}` is not supported; only `http` is")
            } else {
                let shown: String = name.chars().take(60).collect();
                format!("`{shown}` can't be called: functions are not supported; only `http` is")
            };
            self.faults.add("unsupported", place, message);
            return None;
        }
        let Some(with) = with else {
            self.faults.add("missing", place, "`call: http` needs `with`");
            return None;
        };
        let mut map = Fields::open(&with, "`with`", &mut self.faults)?;
        let method = map.require("method", "`with`", &mut self.faults);
        let endpoint = map.require("endpoint", "`with`", &mut self.faults);
        let (headers, query) = (map.take("headers"), map.take("query"));
        let (body, output, redirect) = (map.take("body"), map.take("output"), map.take("redirect"));
        map.finish("`with`", &[], &mut self.faults);
        if let Some(place) = redirect
            && place.node.kind != Kind::Bool(false)
        {
            self.faults.add("unsupported", &place, "redirects are not followed; remove `redirect`");
        }
        let method = method.and_then(|place| self.method(&place));
        let endpoint = endpoint.and_then(|place| self.endpoint(&place));
        let headers = headers.map_or_else(|| Some(Vec::new()), |place| self.headers(&place));
        let query = query.map_or_else(|| Some(Vec::new()), |place| self.named_templates(&place, "`query`"));
        let body = body.map(|place| self.template(&place, Use::Within));
        let output = output.map_or(Some(HttpOutput::Content), |place| self.http_output(&place));
        Some(Action::Http(Box::new(Call {
            method: method?,
            endpoint: endpoint?,
            query: query?,
            headers: headers?,
            body: body.flatten(),
            output: output?,
        })))
    }

    fn method(&mut self, place: &Place<'n>) -> Option<String> {
        let method = fields::text(place, "`method`", &mut self.faults)?.to_ascii_uppercase();
        if !METHODS.contains(&method.as_str()) {
            self.faults.add("method", place, format!("`method` is one of: {}", METHODS.join(", ")));
            return None;
        }
        Some(method)
    }

    fn http_output(&mut self, place: &Place<'n>) -> Option<HttpOutput> {
        match fields::text(place, "`output`", &mut self.faults)? {
            "content" => Some(HttpOutput::Content),
            "response" => Some(HttpOutput::Response),
            "raw" => Some(HttpOutput::Raw),
            _ => {
                self.faults.add("type", place, "`output` is one of: content, response, raw");
                None
            }
        }
    }

    fn headers(&mut self, place: &Place<'n>) -> Option<Vec<(String, Template)>> {
        for (name, place) in fields::entries(place, "`headers`", &mut self.faults)? {
            let lower = name.to_ascii_lowercase();
            let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
            if name.is_empty() || name.len() > 128 || !name.bytes().all(token) {
                self.faults.add("header", &place, "not the name of a header");
            } else if OWN_HEADERS.contains(&lower.as_str()) {
                self.faults.add("header", &place, format!("the connection sets `{lower}` itself; remove it"));
            }
        }
        let named = self.named_templates(place, "`headers`")?;
        Some(named.into_iter().map(|(name, template)| (name.to_ascii_lowercase(), template)).collect())
    }

    fn named_templates(&mut self, place: &Place<'n>, what: &str) -> Option<Vec<(String, Template)>> {
        let entries = fields::entries(place, what, &mut self.faults)?;
        let named: Vec<_> = entries
            .iter()
            .map(|(name, place)| Some(((*name).to_owned(), self.template(place, Use::Within)?)))
            .collect();
        named.into_iter().collect()
    }

    fn endpoint(&mut self, place: &Place<'n>) -> Option<Endpoint> {
        let mut place = place.clone();
        if matches!(place.node.kind, Kind::Map(_)) {
            let mut map = Fields::open(&place, "`endpoint`", &mut self.faults)?;
            let uri = map.require("uri", "`endpoint`", &mut self.faults);
            map.finish("`endpoint`", &["authentication"], &mut self.faults);
            place = uri?;
        }
        let text = fields::text(&place, "`endpoint`", &mut self.faults)?;
        let Some(code) = unwrapped(text) else {
            let (origin, host, rest) = self.origin(text, &place)?;
            let parts = self.uri_parts(rest, &place)?;
            return Some(Endpoint { origin, host, target: Target::Parts(parts) });
        };
        let id = self.compile(code, &place, Use::Within)?;
        let Some(beginning) = jq::literal_beginning(code) else {
            let message = "an endpoint's host is literal; write `${ \"https://host/..\\(.name)\" }` or `https://host/{name}`";
            self.faults.add("endpoint", &place, message);
            return None;
        };
        // The literal must reach past the host, or what follows could change it: `https://a.example\(.x)`.
        if !beginning.strip_prefix("https://").unwrap_or_default().contains(['/', '?'])
            && !code.trim_end().ends_with(&format!("{beginning}\""))
        {
            self.faults.add(
                "endpoint",
                &place,
                "an endpoint's host is literal; end it with `/` before `\\(`",
            );
            return None;
        }
        let (origin, host, _) = self.origin(&beginning, &place)?;
        Some(Endpoint { origin, host, target: Target::Whole(id) })
    }

    /// Splits an endpoint into its origin, its host, and the rest; refuses every origin but https on a named host.
    fn origin<'t>(&mut self, text: &'t str, place: &Place<'n>) -> Option<(String, String, &'t str)> {
        let checked = check_origin(text, self.any_port);
        match checked {
            Ok((origin, host, rest)) => {
                self.hosts.insert(host.clone());
                Some((origin, host, rest))
            }
            Err(message) => {
                self.faults.add("endpoint", place, message);
                None
            }
        }
    }

    /// Path and query, cut at `{name}` and `{name.part}`.
    fn uri_parts(&mut self, rest: &str, place: &Place<'n>) -> Option<Vec<UriPart>> {
        let parts = split_template(rest);
        if parts.is_none() {
            let message = "an endpoint's `{..}` holds a name from the task's input, such as `{order.id}`";
            self.faults.add("endpoint", place, message);
        }
        parts
    }
}

fn check_origin(text: &str, any_port: bool) -> Result<(String, String, &str), String> {
    let Some(after) = text.strip_prefix("https://") else {
        return Err("an endpoint begins with `https://`".to_owned());
    };
    let end = after.find(['/', '?', '#', '\\']).unwrap_or(after.len());
    let (authority, rest) = after.split_at(end);
    if authority.contains(['{', '}', '$', '@', '%']) {
        return Err("an endpoint's host is literal, without user and without expressions".to_owned());
    }
    if rest.contains('#') {
        return Err("an endpoint has no fragment (`#`)".to_owned());
    }
    let url =
        Url::parse(&format!("https://{authority}/")).map_err(|error| format!("not an endpoint: {error}"))?;
    let host = url.host_str().unwrap_or_default().to_owned();
    let named = matches!(url.host(), Some(url::Host::Domain(_))) && host.parse::<HostPattern>().is_ok();
    if !named || host.contains('*') {
        return Err("an endpoint's host is a DNS name, not an address".to_owned());
    }
    if authority.contains(':') && !any_port && !authority.ends_with(":443") {
        return Err("an endpoint's port is 443; leave it out".to_owned());
    }
    let origin = url.as_str().trim_end_matches('/').to_owned();
    Ok((origin, host, rest))
}

fn split_template(text: &str) -> Option<Vec<UriPart>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((literal, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}')?;
        let path: Vec<String> = name.split('.').map(str::to_owned).collect();
        let plain = |part: &String| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        };
        if literal.contains('}') || !path.iter().all(plain) {
            return None;
        }
        parts.push(UriPart::Literal(literal.to_owned()));
        parts.push(UriPart::Input(path));
        rest = after;
    }
    if rest.contains('}') {
        return None;
    }
    parts.push(UriPart::Literal(rest.to_owned()));
    Some(parts)
}
