//! The lab's network: a hub namespace with a bridge, one namespace per node, and one interface for the machine itself.
//!
//! ```text
//!   machine           hub namespace                         node namespaces
//!   sg-NAME ───────── root ┐                            ┌─ eth0  10.79.K.11
//!   10.79.K.254            br0 10.79.K.1 ── v1, v2, … ──┼─ eth0  10.79.K.12
//! ```
//! The machine's own sysctls and iptables stay as they are: forwarding and filtering happen inside the namespaces.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::command::{ip_batch, program, run};
use crate::lab::Options;
use crate::name::Name;
use crate::owned::{namespaces, netns_path};

/// Brings the whole network up.
pub(crate) fn create(options: &Options) -> Result<()> {
    refuse_if_routed(options.name)?;
    let (name, hub) = (options.name, options.name.hub_netns());
    run("ip", &["netns", "add", &hub])?;
    for index in 1..=options.nodes {
        run("ip", &["netns", "add", &name.node_netns(index)])?;
    }
    // The hub's bridge passes frames without asking iptables: there are no rules to ask.
    set_sysctl(&hub, "net/bridge/bridge-nf-call-iptables", "0")?;
    ip_batch(Some(&hub), &hub_commands(options))?;
    for index in 1..=options.nodes {
        ip_batch(Some(&name.node_netns(index)), &node_commands(name, index))?;
        set_sysctl(&name.node_netns(index), "net/ipv4/ip_forward", "1")?;
    }
    ip_batch(None, &root_commands(name))?;
    ip_batch(Some(&hub), &["link set root master br0 up".to_owned()])
}

fn hub_commands(options: &Options) -> Vec<String> {
    let name = options.name;
    let mut lines = vec![
        "link set lo up".to_owned(),
        "link add br0 type bridge".to_owned(),
        format!("addr add {}/24 dev br0", name.hub_address()),
        "link set br0 up".to_owned(),
    ];
    for index in 1..=options.nodes {
        lines.push(format!("link add {} type veth peer name eth0 netns {}", port(index), name.node_netns(index)));
        lines.push(format!("link set {} master br0 up", port(index)));
    }
    lines
}

fn node_commands(name: Name, index: u32) -> Vec<String> {
    vec![
        "link set lo up".to_owned(),
        format!("addr add {}/24 dev eth0", name.node_address(index)),
        "link set eth0 up".to_owned(),
        format!("route add default via {}", name.hub_address()),
    ]
}

fn root_commands(name: Name) -> Vec<String> {
    let link = name.root_link();
    vec![
        format!("link add {link} type veth peer name root netns {}", name.hub_netns()),
        format!("addr add {}/24 dev {link}", name.root_address()),
        format!("link set {link} up"),
    ]
}

/// The hub's end of a node's cable.
fn port(index: u32) -> String {
    format!("v{index}")
}

/// Plugs a node's cable in or out, at the hub's end.
pub(crate) fn set_cable(name: Name, index: u32, plugged: bool) -> Result<()> {
    let state = if plugged { "up" } else { "down" };
    ip_batch(Some(&name.hub_netns()), &[format!("link set {} {state}", port(index))])
}

/// Removes what there is of the network. Its processes must have ended.
pub(crate) fn remove(name: Name) -> Result<()> {
    if Path::new("/sys/class/net").join(name.root_link()).exists() {
        run("ip", &["link", "delete", &name.root_link()])?;
    }
    for netns in namespaces(name) {
        run("ip", &["netns", "delete", &netns])?;
    }
    Ok(())
}

/// Sysctls under `net` belong to the network namespace of whoever writes them.
fn set_sysctl(netns: &str, key: &str, value: &str) -> Result<()> {
    let file = format!("/proc/sys/{key}");
    if !Path::new(&file).exists() {
        // The bridge filter is a kernel module; where it is not loaded there is nothing to switch off.
        return Ok(());
    }
    let enter = format!("--net={}", netns_path(netns).display());
    program("nsenter")?;
    run("nsenter", &[&enter, "sh", "-c", "echo \"$1\" > \"$2\"", "sh", value, &file]).map(drop)
}

#[derive(Deserialize)]
struct Route {
    dst: String,
    dev: Option<String>,
}

/// Fails if the machine already reaches the lab's addresses some other way than by its default route.
fn refuse_if_routed(name: Name) -> Result<()> {
    for relation in ["match", "root"] {
        let text = run("ip", &["-4", "-j", "route", "show", "table", "all", "to", relation, &name.subnet()])?;
        if let Some(route) = foreign_route(&text)? {
            bail!(
                "the lab {name} needs the network {}, but this machine already routes {} through {}; \
                 use another lab (--name) or take that route away",
                name.subnet(),
                route.dst,
                route.dev.as_deref().unwrap_or("another interface"),
            );
        }
    }
    Ok(())
}

fn foreign_route(text: &str) -> Result<Option<Route>> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let routes: Vec<Route> = serde_json::from_str(text).context("understand the output of `ip -j route`")?;
    Ok(routes.into_iter().find(|route| route.dst != "default"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_route_is_no_obstacle_and_a_wider_one_is() {
        let default = r#"[{"dst":"default","gateway":"192.0.2.1","dev":"eth0","flags":[]}]"#;
        assert!(foreign_route(default).unwrap().is_none());
        assert!(foreign_route("").unwrap().is_none());
        let vpn = r#"[{"dst":"default","dev":"eth0"},{"dst":"10.0.0.0/8","dev":"tun0"}]"#;
        assert_eq!(foreign_route(vpn).unwrap().unwrap().dst, "10.0.0.0/8");
    }
}
