//! What a machine says of its name servers (resolv.conf(5)).

use std::net::IpAddr;

/// The largest such file that is read: it holds a few lines.
pub const FILE_MAX: usize = 64 * 1024;

/// The name servers in a text of that form, in their order. Lines that name none are passed over.
pub fn name_servers(text: &str) -> impl Iterator<Item = IpAddr> {
    text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        words.next().filter(|word| *word == "nameserver").and(words.next())?.parse().ok()
    })
}
