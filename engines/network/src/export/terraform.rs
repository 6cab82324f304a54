//! The policy as Terraform JSON for AWS: a VPC per tenant, its NAT gateway, security group and network ACL.
//!
//! Security groups keep state but cannot forbid; network ACLs forbid but keep no state. Together they say what the
//! rules say: the group who may connect, the ACL which addresses nobody connects to. An ACL also cuts the open
//! flows of a tenant that is not live, which a group does not. AWS lets no rule touch its metadata and name
//! services, so both are switched off.
//!
//! A tenant's ACL has 20 entries each way, AWS's default quota, with one control-plane address. A VPC has up to 125
//! peerings (50 by default): beyond that, split the tenants over several states.

use crate::addresses::{
    Addresses, CONTROL_NETWORK, CONTROL_PLANE, DATA_PLANE_PORT, HTTPS_PORT, SHARED_NETWORK,
};
use crate::desired::{ControlPlane, Desired, TenantNetwork};
use crate::special::SPECIAL;
use ipnet::Ipv4Net;
use serde_json::{Map, Value, json};
use std::net::Ipv4Addr;

/// Where clients' ports begin; what answers them goes there.
const CLIENT_PORTS_FROM: u16 = 1_024;

/// The highest port.
const PORT_MAX: u16 = 65_535;

/// Everywhere.
const ANYWHERE: &str = "0.0.0.0/0";

/// Writes the configuration as one `.tf.json` file.
#[must_use]
pub fn terraform(desired: &Desired) -> String {
    let mut resources = Resources::default();
    let control: Vec<Ipv4Addr> = match desired.control_plane() {
        ControlPlane::Here { .. } => {
            resources.control_plane(desired);
            vec![CONTROL_PLANE]
        }
        ControlPlane::Elsewhere { addresses } => addresses.clone(),
    };
    for tenant in desired.tenants() {
        resources.tenant(tenant, &control);
        if let ControlPlane::Here { .. } = desired.control_plane() {
            resources.peering(tenant);
        }
    }
    let document = json!({
        "terraform": {
            "required_version": ">= 1.5",
            "required_providers": { "aws": { "source": "hashicorp/aws", "version": ">= 5.0, < 7.0" } },
        },
        "variable": {
            "region": { "type": "string", "description": "Where the networks are" },
            "availability_zone": { "type": "string", "description": "Where their subnets are" },
        },
        "provider": { "aws": { "region": "${var.region}", "default_tags": { "tags": { "restricted": "true" } } } },
        "resource": resources.0,
    });
    format!("{document:#}\n")
}

/// Resources by type and name.
#[derive(Default)]
struct Resources(Map<String, Value>);

impl Resources {
    fn add(&mut self, kind: &str, name: &str, body: Value) {
        let of_kind = self.0.entry(kind).or_insert_with(|| json!({}));
        if let Some(of_kind) = of_kind.as_object_mut() {
            of_kind.insert(name.to_owned(), body);
        }
    }

    fn tenant(&mut self, tenant: &TenantNetwork, control: &[Ipv4Addr]) {
        let name = format!("tenant_{}", tenant.number);
        let network = Addresses::of(tenant.number).network;
        let tags =
            json!({ "Name": format!("palisade-{name}"), "palisade:tenant": tenant.tenant.to_string() });
        self.network(&name, network, &tags);
        self.way_out(&name, network, &tags);
        let (ingress, egress) = if tenant.live { group_rules(control) } else { (Vec::new(), Vec::new()) };
        self.add(
            "aws_security_group",
            &name,
            json!({
                "name": format!("palisade-{name}"),
                "description": "NET-2 and NET-3: plans in, https out",
                "vpc_id": format!("${{aws_vpc.{name}.id}}"),
                "ingress": ingress,
                "egress": egress,
                "tags": tags,
            }),
        );
        let (ingress, egress) = if tenant.live { acl_rules(control) } else { (Vec::new(), Vec::new()) };
        self.add(
            "aws_network_acl",
            &name,
            json!({
                "vpc_id": format!("${{aws_vpc.{name}.id}}"),
                "subnet_ids": [format!("${{aws_subnet.{name}.id}}")],
                "ingress": ingress,
                "egress": egress,
                "tags": tags,
            }),
        );
        self.add(
            "aws_launch_template",
            &name,
            json!({
                "name": format!("palisade-{name}"),
                "vpc_security_group_ids": [format!("${{aws_security_group.{name}.id}}")],
                "metadata_options": [{ "http_endpoint": "disabled" }],
                "tags": tags,
            }),
        );
    }

    fn control_plane(&mut self, desired: &Desired) {
        let tags = json!({ "Name": "palisade-control" });
        self.network("control", SHARED_NETWORK, &tags);
        let mut egress: Vec<Value> = desired
            .tenants()
            .iter()
            .filter(|tenant| tenant.live)
            .map(|t| open("a tenant's plans", &host(Addresses::of(t.number).data_plane), DATA_PLANE_PORT))
            .collect();
        if let ControlPlane::Here { reach, .. } = desired.control_plane() {
            egress.extend(reach.iter().map(|at| open("an endpoint of ours", &host(*at.ip()), at.port())));
        }
        self.add(
            "aws_security_group",
            "control",
            json!({
                "name": "palisade-control",
                "description": "The public API in, plans out",
                "vpc_id": "${aws_vpc.control.id}",
                "ingress": [open("the public API", ANYWHERE, HTTPS_PORT)],
                "egress": egress,
                "tags": tags,
            }),
        );
    }

    /// A VPC with one private subnet, and a default group that permits nothing.
    fn network(&mut self, name: &str, network: Ipv4Net, tags: &Value) {
        let vpc = format!("${{aws_vpc.{name}.id}}");
        self.add(
            "aws_vpc",
            name,
            json!({
                "cidr_block": network.to_string(),
                // The resolver at .2 answers whatever the rules say; the control plane resolves names instead.
                "enable_dns_support": false,
                "enable_dns_hostnames": false,
                "assign_generated_ipv6_cidr_block": false,
                "tags": tags,
            }),
        );
        let none: [Value; 0] = [];
        let closed = json!({ "vpc_id": vpc, "ingress": none, "egress": none, "tags": tags });
        self.add("aws_default_security_group", name, closed);
        self.subnet(name, name, within(network, 0), tags);
        self.add("aws_route_table", name, json!({ "vpc_id": vpc, "tags": tags }));
        self.associate(name);
    }

    /// An internet gateway and a NAT gateway behind which the subnet reaches the internet; nothing comes in.
    fn way_out(&mut self, name: &str, network: Ipv4Net, tags: &Value) {
        let nat = format!("{name}_nat");
        let vpc = format!("${{aws_vpc.{name}.id}}");
        self.add("aws_internet_gateway", name, json!({ "vpc_id": vpc, "tags": tags }));
        self.subnet(&nat, name, within(network, 255), tags);
        self.add("aws_route_table", &nat, json!({ "vpc_id": vpc, "tags": tags }));
        self.associate(&nat);
        self.add("aws_eip", name, json!({ "domain": "vpc", "tags": tags }));
        self.add(
            "aws_nat_gateway",
            name,
            json!({
                "allocation_id": format!("${{aws_eip.{name}.id}}"),
                "subnet_id": format!("${{aws_subnet.{nat}.id}}"),
                "tags": tags,
            }),
        );
        let out = |table: &str, key: &str, gateway: String| {
            let mut route = json!({
                "route_table_id": format!("${{aws_route_table.{table}.id}}"),
                "destination_cidr_block": ANYWHERE,
            });
            if let Some(route) = route.as_object_mut() {
                route.insert(key.to_owned(), Value::from(gateway));
            }
            route
        };
        let by_nat = out(name, "nat_gateway_id", format!("${{aws_nat_gateway.{name}.id}}"));
        self.add("aws_route", &format!("{name}_out"), by_nat);
        let by_gateway = out(&nat, "gateway_id", format!("${{aws_internet_gateway.{name}.id}}"));
        self.add("aws_route", &format!("{nat}_out"), by_gateway);
    }

    /// The tenant's only way to another network: the control plane's subnet.
    fn peering(&mut self, tenant: &TenantNetwork) {
        let name = format!("tenant_{}", tenant.number);
        let peering = format!("${{aws_vpc_peering_connection.{name}.id}}");
        self.add(
            "aws_vpc_peering_connection",
            &name,
            json!({
                "vpc_id": "${aws_vpc.control.id}",
                "peer_vpc_id": format!("${{aws_vpc.{name}.id}}"),
                "auto_accept": true,
                "tags": { "Name": format!("palisade-{name}") },
            }),
        );
        let there = within(Addresses::of(tenant.number).network, 0);
        let ways = [
            (format!("{name}_to_control"), name.as_str(), CONTROL_NETWORK),
            (format!("control_to_{name}"), "control", there),
        ];
        for (route, table, destination) in ways {
            self.add(
                "aws_route",
                &route,
                json!({
                    "route_table_id": format!("${{aws_route_table.{table}.id}}"),
                    "destination_cidr_block": destination.to_string(),
                    "vpc_peering_connection_id": peering,
                }),
            );
        }
    }

    fn subnet(&mut self, name: &str, vpc: &str, network: Ipv4Net, tags: &Value) {
        self.add(
            "aws_subnet",
            name,
            json!({
                "vpc_id": format!("${{aws_vpc.{vpc}.id}}"),
                "cidr_block": network.to_string(),
                "availability_zone": "${var.availability_zone}",
                "map_public_ip_on_launch": false,
                "tags": tags,
            }),
        );
    }

    fn associate(&mut self, name: &str) {
        self.add(
            "aws_route_table_association",
            name,
            json!({
                "subnet_id": format!("${{aws_subnet.{name}.id}}"),
                "route_table_id": format!("${{aws_route_table.{name}.id}}"),
            }),
        );
    }
}

/// The /24 of `network` with this third byte.
fn within(network: Ipv4Net, third: u8) -> Ipv4Net {
    let [first, second, _, _] = network.addr().octets();
    Ipv4Net::new_assert(Ipv4Addr::new(first, second, third, 0), 24)
}

fn host(address: Ipv4Addr) -> String {
    format!("{address}/32")
}

/// Who may connect to a data plane, and where it may connect to.
fn group_rules(control: &[Ipv4Addr]) -> (Vec<Value>, Vec<Value>) {
    let ingress = control.iter().map(|address| open("plans", &host(*address), DATA_PLANE_PORT)).collect();
    let to_control = control.iter().map(|address| open("the control plane", &host(*address), HTTPS_PORT));
    (ingress, to_control.chain([open("the internet", ANYWHERE, HTTPS_PORT)]).collect())
}

/// One rule of a security group. Terraform wants every field of an inline rule said.
fn open(what: &str, cidr: &str, port: u16) -> Value {
    json!({
        "description": what,
        "protocol": "tcp",
        "from_port": port,
        "to_port": port,
        "cidr_blocks": [cidr],
        "ipv6_cidr_blocks": [],
        "prefix_list_ids": [],
        "security_groups": [],
        "self": false,
    })
}

/// Which addresses a tenant's subnet exchanges packets with: the control plane, and of the rest only the internet.
fn acl_rules(control: &[Ipv4Addr]) -> (Vec<Value>, Vec<Value>) {
    let mut number = 90_u16;
    let mut next = || {
        number += 10;
        number
    };
    let (mut ingress, mut egress) = (Vec::new(), Vec::new());
    for address in control {
        let at = next();
        ingress.push(entry(at, "allow", &host(*address), CLIENT_PORTS_FROM, PORT_MAX));
        egress.push(entry(at, "allow", &host(*address), HTTPS_PORT, PORT_MAX));
    }
    for block in SPECIAL {
        let at = next();
        ingress.push(entry(at, "deny", &block.net.to_string(), 0, PORT_MAX));
        egress.push(entry(at, "deny", &block.net.to_string(), 0, PORT_MAX));
    }
    let at = next();
    ingress.push(entry(at, "allow", ANYWHERE, CLIENT_PORTS_FROM, PORT_MAX));
    egress.push(entry(at, "allow", ANYWHERE, HTTPS_PORT, HTTPS_PORT));
    (ingress, egress)
}

/// One entry of a network ACL; it too wants every field.
fn entry(number: u16, action: &str, cidr: &str, from: u16, to: u16) -> Value {
    json!({
        "rule_no": number,
        "action": action,
        "protocol": "tcp",
        "from_port": from,
        "to_port": to,
        "cidr_block": cidr,
        "ipv6_cidr_block": "",
        "icmp_type": 0,
        "icmp_code": 0,
    })
}
