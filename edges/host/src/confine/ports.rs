//! TCP ports: all shut but some, by the kernel's Landlock (landlock(7)); Linux 6.7 and later.

use super::{ConfineError, Wall, alone};
use landlock::{
    Access as _, AccessNet, BitFlags, CompatLevel, Compatible as _, NetPort, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetError,
};
use std::io;

/// From now on this process binds TCP sockets to the ports `bind` alone and connects to the ports `connect` alone, at
/// whatever address. UDP and Unix sockets are not touched.
///
/// # Errors
/// When other threads run already, or the kernel has Landlock and refuses.
pub fn only_tcp_ports(bind: &[u16], connect: &[u16]) -> Result<Wall, ConfineError> {
    alone("TCP ports")?;
    only_tcp_ports_of_thread(bind, connect)
}

fn only_tcp_ports_of_thread(bind: &[u16], connect: &[u16]) -> Result<Wall, ConfineError> {
    // The oldest version that has rules for TCP is the fourth.
    let every: BitFlags<AccessNet> = AccessNet::from_all(landlock::ABI::V4);
    let asked = Ruleset::default().set_compatibility(CompatLevel::HardRequirement).handle_access(every);
    let ruleset = match asked {
        Ok(ruleset) => ruleset.create().map_err(refused)?,
        // With a hard requirement the only reason is a kernel without it.
        Err(error) => return Ok(Wall::Absent { why: error.to_string() }),
    };
    let rules = |ports: &[u16], access: AccessNet| -> Vec<_> {
        ports.iter().map(|port| Ok::<_, RulesetError>(NetPort::new(*port, access))).collect()
    };
    let ruleset = ruleset.add_rules(rules(bind, AccessNet::BindTcp)).map_err(refused)?;
    let ruleset = ruleset.add_rules(rules(connect, AccessNet::ConnectTcp)).map_err(refused)?;
    ruleset.restrict_self().map_err(refused)?;
    Ok(Wall::Raised)
}

fn refused(error: RulesetError) -> ConfineError {
    ConfineError::Refused { wall: "TCP ports", source: io::Error::other(error) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    #[test]
    fn other_ports_are_shut_where_the_kernel_can_shut_them() {
        let open = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let shut = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let ports = [&open, &shut].map(|listener| listener.local_addr().unwrap().port());
        let (wall, [connected, refused], bound) = std::thread::spawn(move || {
            let wall = only_tcp_ports_of_thread(&[], &ports[..1]).unwrap();
            let connect = |port| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map(|_| ());
            (wall, ports.map(connect), TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map(|_| ()))
        })
        .join()
        .unwrap();
        connected.unwrap();
        match wall {
            Wall::Raised => {
                assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::EACCES));
                assert_eq!(bound.unwrap_err().raw_os_error(), Some(libc::EACCES));
            }
            Wall::Absent { why } => {
                eprintln!("SKIPPED: this kernel has no TCP rules: {why}");
                refused.unwrap();
            }
        }
    }
}
