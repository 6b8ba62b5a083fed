//! `cargo xtask lab up|down|status`: the Swarm on one machine, for a developer or a user who wants just that.

use std::time::Instant;

use anyhow::Result;
use clap::Subcommand;
use swarmguard_lab::{Lab, Name, Options};

use crate::run::{become_root, interrupted, runtime, say, step};
use crate::setup;

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Bring a lab up
    Up {
        /// Nodes of the Swarm
        #[arg(long, default_value_t = 3)]
        nodes: u32,
        /// Which lab: lab, demo or test
        #[arg(long, default_value_t = Name::Lab)]
        name: Name,
    },
    /// Take a lab down, also one that was cut short
    Down {
        /// Which lab: lab, demo or test
        #[arg(long, default_value_t = Name::Lab)]
        name: Name,
    },
    /// Show which labs are up
    Status {
        /// For machines
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(action: Action) -> Result<()> {
    become_root()?;
    match action {
        Action::Up { nodes, name } => {
            setup::for_lab()?;
            up(name, nodes)
        }
        Action::Down { name } => {
            runtime()?.block_on(Lab::clean(name))?;
            say(&format!("lab {name}: nothing of it is left"));
            Ok(())
        }
        Action::Status { json } => status(json),
    }
}

fn up(name: Name, nodes: u32) -> Result<()> {
    let begun = Instant::now();
    let lab = runtime()?.block_on(async {
        let progress = |text: &str| step(begun, text);
        tokio::select! {
            lab = Lab::up(Options::new(name, nodes), &progress) => lab,
            error = interrupted() => {
                Lab::clean(name).await?;
                error.and(Err(anyhow::anyhow!("interrupted")))
            }
        }
    })?;
    describe(&lab);
    say(&format!("\ntry:  docker -H unix://{} node ls", lab.node(1)?.socket().display()));
    say(&format!("end:  cargo xtask lab down --name {name}"));
    Ok(())
}

fn describe(lab: &Lab) {
    say(&format!("lab {}: {} nodes, hub {}", lab.name(), lab.nodes().len(), lab.hub().address()));
    for node in lab.nodes() {
        say(&format!("  {}  {}  unix://{}", node.hostname(), node.address(), node.socket().display()));
    }
}

fn status(json: bool) -> Result<()> {
    let labs: Vec<Lab> = Name::ALL.into_iter().filter_map(Lab::open).collect();
    let runtime = runtime()?;
    if json {
        let labs = labs.iter().map(|lab| {
            let nodes = lab.nodes().iter().map(|node| {
                serde_json::json!({ "hostname": node.hostname(), "address": node.address(), "socket": node.socket() })
            });
            let healthy = runtime.block_on(lab.is_healthy());
            serde_json::json!({ "name": lab.name().as_str(), "healthy": healthy, "nodes": nodes.collect::<Vec<_>>() })
        });
        say(&serde_json::Value::Array(labs.collect()).to_string());
        return Ok(());
    }
    if labs.is_empty() {
        say("no lab is up; bring one up with: cargo xtask lab up");
    }
    for lab in &labs {
        describe(lab);
        if !runtime.block_on(lab.is_healthy()) {
            say(&format!("  not healthy; remove it with: cargo xtask lab down --name {}", lab.name()));
        }
    }
    Ok(())
}
