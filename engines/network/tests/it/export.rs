//! The policy for other platforms: well formed, and the same policy.

use crate::schema::Schema;
use crate::world::{HOST, STRANGER, elsewhere, here};
use ipnet::Ipv4Net;
use network::addresses::{CONTROL_PLANE, UPLINK_NETWORK};
use network::{
    Addresses, Beyond, Control, ControlPlane, Desired, Expected, NetworkNumber, Origin, Probe, Protocol,
    export, matrix,
};
use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};
use std::net::{IpAddr, Ipv4Addr};

const NETWORKING: &str = include_str!("../schemas/networking-v1.json");
const CILIUM: &str = include_str!("../schemas/cilium-v2.json");
const TERRAFORM: &str = include_str!("../schemas/terraform-aws.json");

/// Says whether something other than our rules would let a probe pass.
type Judge<'a> = Box<dyn Fn(Flow) -> bool + 'a>;

#[test]
fn manifests_are_as_their_platforms_have_them() {
    for desired in [here(3), elsewhere(3), here(0), elsewhere(155)] {
        for (text, schema) in [(export::kubernetes(&desired), NETWORKING), (export::cilium(&desired), CILIUM)]
        {
            let schema = Schema::new(schema);
            for document in documents(&text) {
                let kind = document["kind"].as_str().unwrap();
                assert_eq!(schema.faults(kind, &document), Vec::<String>::new());
            }
        }
        let configuration: Value = serde_json::from_str(&export::terraform(&desired)).unwrap();
        assert_eq!(Schema::new(TERRAFORM).faults("configuration", &configuration), Vec::<String>::new());
    }
}

#[test]
fn the_schemas_see_what_is_wrong() {
    let mut document = documents(&export::kubernetes(&here(3))).remove(2);
    document["spec"]["podSelektor"] = Value::Null;
    document["spec"]["egress"][0]["ports"][0]["port"] = 65_536.into();
    document["metadata"]["name"] = "Big".into();
    assert_eq!(Schema::new(NETWORKING).faults("NetworkPolicy", &document).len(), 3);
}

#[test]
fn every_reference_of_the_configuration_leads_to_something_in_it() {
    for desired in [here(3), elsewhere(3)] {
        let configuration: Value = serde_json::from_str(&export::terraform(&desired)).unwrap();
        let mut references = Vec::new();
        strings(&configuration, &mut references);
        references.retain(|text| text.starts_with("${"));
        assert!(references.len() > 60, "{}", references.len());
        for reference in references {
            let path = reference.trim_start_matches("${").trim_end_matches('}');
            let found = match path.split('.').collect::<Vec<_>>()[..] {
                ["var", name] => configuration["variable"].get(name),
                [kind, name, "id"] => configuration["resource"][kind].get(name),
                _ => None,
            };
            assert!(found.is_some(), "{reference}");
        }
    }
}

#[test]
fn everything_made_is_tagged_as_restricted() {
    for document in
        documents(&export::kubernetes(&here(3))).iter().chain(&documents(&export::cilium(&here(3))))
    {
        assert_eq!(document["metadata"]["labels"]["restricted"], "true");
    }
    let configuration: Value = serde_json::from_str(&export::terraform(&here(3))).unwrap();
    assert_eq!(configuration["provider"]["aws"]["default_tags"]["tags"]["restricted"], "true");
}

#[test]
fn exports_say_what_the_policy_says() {
    for desired in [here(3), elsewhere(3)] {
        let policies = documents(&export::kubernetes(&desired));
        let cilium = documents(&export::cilium(&desired));
        let configuration: Value = serde_json::from_str(&export::terraform(&desired)).unwrap();
        let judges: [(&str, Judge<'_>); 3] = [
            ("kubernetes", Box::new(|flow| network_policies(&policies, &desired, flow))),
            ("cilium", Box::new(|flow| cilium_policies(&cilium, &desired, flow))),
            ("terraform", Box::new(|flow| aws(&configuration["resource"], flow))),
        ];
        let probes = probes(&desired);
        assert!(probes.iter().filter(|probe| probe.expected == Expected::Allowed).count() >= 8);
        for (platform, judge) in judges {
            for probe in &probes {
                let passes = judge(flow(probe));
                assert_eq!(passes, probe.expected == Expected::Allowed, "{platform}: {probe:?}");
            }
        }
    }
}

// === probes that make sense elsewhere ===

/// A connection between two addresses.
#[derive(Debug, Clone, Copy)]
struct Flow {
    from: Ipv4Addr,
    to: Ipv4Addr,
    protocol: Protocol,
    port: u16,
}

/// The probes of the matrix that do not depend on how a host of ours is wired, nor on who a host is.
fn probes(desired: &Desired) -> Vec<Probe> {
    let beyond = Beyond { public: vec![STRANGER], ipv6: vec![], strangers: vec![STRANGER] };
    let control = match desired.control_plane() {
        ControlPlane::Here { .. } => vec![],
        ControlPlane::Elsewhere { addresses } => addresses.clone(),
    };
    let wired = |probe: &Probe| match (probe.from, probe.to) {
        (Origin::Host, _) | (_, IpAddr::V6(_)) => true,
        // Forwarded ports, where others reach data planes by their own addresses; and gateways, which they lack.
        (Origin::Outside(address), IpAddr::V4(to)) => {
            let gateway = desired.tenants().iter().any(|tenant| Addresses::of(tenant.number).gateway == to);
            UPLINK_NETWORK.contains(&to) || to == CONTROL_PLANE || gateway || control.contains(&address)
        }
        // AWS knows no address of a host, and here none is public but this one.
        (_, IpAddr::V4(to)) => to == HOST,
    };
    let mut probes = matrix(desired, &beyond);
    probes.retain(|probe| !wired(probe) && probe.protocol != Protocol::Icmp);
    for tenant in desired.tenants() {
        let to = IpAddr::V4(Addresses::of(tenant.number).data_plane);
        let expected = if tenant.live { Expected::Allowed } else { Expected::Denied };
        for address in &control {
            let from = Origin::Outside(*address);
            let plan = Probe {
                from,
                to,
                protocol: Protocol::Tcp,
                port: 5678,
                expected,
                control: Control::Net2,
                why: "plans",
            };
            probes.push(Probe { port: 22, expected: Expected::Denied, ..plan.clone() });
            probes.push(plan);
        }
    }
    probes
}

fn flow(probe: &Probe) -> Flow {
    let from = match probe.from {
        Origin::ControlPlane => CONTROL_PLANE,
        Origin::DataPlane(number) => Addresses::of(number).data_plane,
        Origin::Sidecar(number) => Addresses::of(number).sidecar,
        Origin::Outside(address) => address,
        Origin::Host => panic!("{probe:?}"),
    };
    let IpAddr::V4(to) = probe.to else { panic!("{probe:?}") };
    Flow { from, to, protocol: probe.protocol, port: probe.port }
}

// === a cluster ===

/// A pod: its namespace, whose namespace that is, and its role.
struct Pod {
    namespace: String,
    tenant: bool,
    role: &'static str,
}

fn pod(desired: &Desired, address: Ipv4Addr) -> Option<Pod> {
    if address == CONTROL_PLANE && matches!(desired.control_plane(), ControlPlane::Here { .. }) {
        return Some(Pod { namespace: "palisade-control".to_owned(), tenant: false, role: "control-plane" });
    }
    let tenant = desired.tenants().iter().find(|t| Addresses::of(t.number).network.contains(&address))?;
    let addresses = Addresses::of(tenant.number);
    let role = match address {
        address if address == addresses.data_plane => "data-plane",
        address if address == addresses.sidecar => "sidecar",
        _ => return None,
    };
    Some(Pod { namespace: format!("palisade-{}", tenant.tenant), tenant: true, role })
}

fn network_policies(policies: &[Value], desired: &Desired, flow: Flow) -> bool {
    let (from, to) = (pod(desired, flow.from), pod(desired, flow.to));
    let side =
        |pod: &Option<Pod>, direction: &str, rules: &str, peers: &str, other: &Option<Pod>, address| {
            let Some(pod) = pod else { return true };
            let spec = |policy: &Value| policy["spec"].clone();
            let applies = |policy: &&Value| {
                policy["kind"] == "NetworkPolicy"
                    && policy["metadata"]["namespace"] == pod.namespace.as_str()
                    && selects(&policy["spec"]["podSelector"], "palisade/role", pod.role)
                    && policy["spec"]["policyTypes"].as_array().unwrap().contains(&direction.into())
            };
            let specs: Vec<Value> = policies.iter().filter(applies).map(spec).collect();
            assert!(!specs.is_empty(), "{} is open", pod.namespace);
            specs.iter().flat_map(|spec| list(&spec[rules])).any(|rule| {
                let port = list(&rule["ports"])
                    .any(|port| port["protocol"] == protocol(flow) && port["port"] == flow.port);
                let peer =
                    rule.get(peers).is_none_or(|all| list(all).any(|peer| is_peer(peer, other, address)));
                port && peer
            })
        };
    side(&from, "Egress", "egress", "to", &to, flow.to)
        && side(&to, "Ingress", "ingress", "from", &from, flow.from)
}

fn is_peer(peer: &Value, pod: &Option<Pod>, address: Ipv4Addr) -> bool {
    match (pod, peer.get("ipBlock")) {
        (None, Some(block)) => {
            within(&block["cidr"], address) && !list(&block["except"]).any(|n| within(n, address))
        }
        (Some(pod), None) => {
            let namespace = &peer["namespaceSelector"];
            let named = selects(namespace, "kubernetes.io/metadata.name", &pod.namespace);
            let tenants = namespace.get("matchExpressions").is_none() || pod.tenant;
            named && tenants && selects(&peer["podSelector"], "palisade/role", pod.role)
        }
        (Some(_), Some(_)) | (None, None) => false,
    }
}

fn cilium_policies(policies: &[Value], desired: &Desired, flow: Flow) -> bool {
    let (from, to) = (pod(desired, flow.from), pod(desired, flow.to));
    let side = |pod: &Option<Pod>, rules: &str, denials: &str, prefix: &str, other: &Option<Pod>, address| {
        let Some(pod) = pod else { return true };
        let applies = |policy: &&Value| {
            policy["metadata"]["namespace"] == pod.namespace.as_str()
                && selects(&policy["spec"]["endpointSelector"], "palisade/role", pod.role)
        };
        let specs: Vec<&Value> = policies.iter().filter(applies).map(|policy| &policy["spec"]).collect();
        let closed = specs.iter().any(|spec| spec.get(rules).is_some() || spec.get(denials).is_some());
        assert!(closed, "{} {} is open", pod.namespace, pod.role);
        let fits = |rule: &Value| cilium_fits(rule, prefix, other, address, flow);
        let any = |key: &str| specs.iter().flat_map(|spec| list(&spec[key])).any(fits);
        any(rules) && !any(denials)
    };
    side(&from, "egress", "egressDeny", "to", &to, flow.to)
        && side(&to, "ingress", "ingressDeny", "from", &from, flow.from)
}

fn cilium_fits(rule: &Value, prefix: &str, other: &Option<Pod>, address: Ipv4Addr, flow: Flow) -> bool {
    let peers = |kind: &str| list(&rule[format!("{prefix}{kind}")]);
    let entity = peers("Entities").any(|entity| entity == "all");
    let peer = match other {
        Some(pod) => peers("Endpoints").any(|selector| {
            let namespace = selects(selector, "k8s:io.kubernetes.pod.namespace", &pod.namespace);
            let tenants = selector.get("matchExpressions").is_none() || pod.tenant;
            namespace && tenants && selects(selector, "palisade/role", pod.role)
        }),
        None => {
            let excepted = |set: &Value| list(&set["except"]).any(|net| within(net, address));
            peers("CIDR").any(|net| within(net, address))
                || peers("CIDRSet").any(|set| within(&set["cidr"], address) && !excepted(set))
        }
    };
    let wanted = flow.port.to_string();
    let mut ports = list(&rule["toPorts"]).flat_map(|ports| list(&ports["ports"]));
    let port = rule.get("toPorts").is_none()
        || ports.any(|port| port["protocol"] == protocol(flow) && port["port"] == wanted.as_str());
    (entity || peer) && port
}

/// Whether a selector's labels and expressions hold for something with this label, as far as they are about it.
fn selects(selector: &Value, label: &str, value: &str) -> bool {
    let labels = selector["matchLabels"].get(label).is_none_or(|wanted| wanted == value);
    let expressions = list(&selector["matchExpressions"]).filter(|expression| expression["key"] == label);
    labels
        && expressions.into_iter().all(|expression| {
            let listed = list(&expression["values"]).any(|listed| listed == value);
            match expression["operator"].as_str().unwrap() {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => true,
                other => panic!("{other}"),
            }
        })
}

// === a cloud ===

fn aws(resources: &Value, flow: Flow) -> bool {
    let name = |address: Ipv4Addr| {
        let number = NetworkNumber::all().find(|n| Addresses::of(*n).network.contains(&address));
        let tenant = number.map(|number| format!("tenant_{number}"));
        let control = (address == CONTROL_PLANE).then(|| "control".to_owned());
        tenant.or(control).filter(|name| resources["aws_vpc"].get(name).is_some())
    };
    let (from, to) = (name(flow.from), name(flow.to));
    let group = |name: &str, direction: &str, other| {
        let mut rules = list(&resources["aws_security_group"][name][direction]);
        rules.any(|rule| list(&rule["cidr_blocks"]).any(|net| within(net, other)) && covers(rule, flow))
    };
    let acl = |name: &str, direction: &str, other, port: u16| {
        let Some(acl) = resources["aws_network_acl"].get(name) else { return true };
        let mut entries: Vec<&Value> = list(&acl[direction]).collect();
        entries.sort_by_key(|entry| entry["rule_no"].as_u64());
        let there = Flow { port, ..flow };
        let first =
            entries.into_iter().find(|entry| within(&entry["cidr_block"], other) && covers(entry, there));
        first.is_some_and(|entry| entry["action"] == "allow")
    };
    // Answers go to a client's port, and pass no group again but every list.
    let answers = 40_000;
    let leaves = from.as_deref().is_none_or(|name| {
        group(name, "egress", flow.to)
            && acl(name, "egress", flow.to, flow.port)
            && acl(name, "ingress", flow.to, answers)
    });
    let enters = to.as_deref().is_none_or(|name| {
        group(name, "ingress", flow.from)
            && acl(name, "ingress", flow.from, flow.port)
            && acl(name, "egress", flow.from, answers)
    });
    leaves && enters
}

fn covers(rule: &Value, flow: Flow) -> bool {
    let ports = rule["from_port"].as_u64().unwrap()..=rule["to_port"].as_u64().unwrap();
    rule["protocol"] == protocol(flow).to_ascii_lowercase() && ports.contains(&flow.port.into())
}

// === values ===

fn protocol(flow: Flow) -> &'static str {
    match flow.protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
        Protocol::Icmp => "ICMP",
    }
}

fn within(net: &Value, address: Ipv4Addr) -> bool {
    net.as_str().unwrap().parse::<Ipv4Net>().unwrap().contains(&address)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn strings(value: &Value, all: &mut Vec<String>) {
    match value {
        Value::String(text) => all.push(text.clone()),
        Value::Array(list) => list.iter().for_each(|item| strings(item, all)),
        Value::Object(map) => map.values().for_each(|item| strings(item, all)),
        Value::Null | Value::Bool(_) | Value::Number(_) => (),
    }
}

/// The documents of a YAML stream, read by a parser that is not ours.
fn documents(text: &str) -> Vec<Value> {
    let mut all = Vec::new();
    // Lists and maps that are being read, each with the key that waits for its value.
    let mut open: Vec<(Value, Option<String>)> = Vec::new();
    for event in Parser::new_from_str(text) {
        let done = match event.unwrap().0 {
            Event::MappingStart(..) => {
                open.push((Value::Object(Map::new()), None));
                continue;
            }
            Event::SequenceStart(..) => {
                open.push((Value::Array(Vec::new()), None));
                continue;
            }
            Event::MappingEnd | Event::SequenceEnd => open.pop().unwrap().0,
            Event::Scalar(text, style, ..) => scalar(&text, style),
            Event::Alias(_) => panic!("an alias"),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(..)
            | Event::DocumentEnd => {
                continue;
            }
        };
        match open.last_mut() {
            None => all.push(done),
            Some((Value::Array(list), _)) => list.push(done),
            Some((Value::Object(map), key)) => match key.take() {
                None => *key = Some(done.as_str().unwrap().to_owned()),
                Some(key) => assert!(map.insert(key, done).is_none(), "a key twice"),
            },
            Some(other) => panic!("{other:?}"),
        }
    }
    all
}

fn scalar(text: &str, style: ScalarStyle) -> Value {
    match (style, text) {
        (ScalarStyle::Plain, "true") => true.into(),
        (ScalarStyle::Plain, "false") => false.into(),
        (ScalarStyle::Plain, number) if number.parse::<u64>().is_ok() => {
            number.parse::<u64>().unwrap().into()
        }
        (_, text) => text.into(),
    }
}
