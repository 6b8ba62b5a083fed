//! Kernel modules in the order in which they can be loaded.
//!
//! Each module says itself on which it depends (`depends=` in its section `.modinfo`): the list of all dependencies,
//! `modules.dep`, is only made when the kernel's package is installed, which it is not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The files of the wanted modules, each after those it depends on.
pub(super) fn in_order(folder: &Path, wanted: &[String]) -> Result<Vec<PathBuf>> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let mut there = BTreeMap::new();
    find(folder, &mut there).with_context(|| format!("looking for kernel modules in {}", folder.display()))?;
    let mut order = Vec::new();
    for name in wanted {
        add(&there, name, &mut order)?;
    }
    Ok(order)
}

fn add(there: &BTreeMap<String, PathBuf>, name: &str, order: &mut Vec<PathBuf>) -> Result<()> {
    let Some(path) = there.get(&normal(name)) else { bail!("the machine's kernel has no module {name}") };
    if order.contains(path) {
        return Ok(());
    }
    let content = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let depends = depends(&content).with_context(|| format!("{} does not say what it depends on", path.display()))?;
    for other in depends.split(',').filter(|other| !other.is_empty()) {
        add(there, other, order).with_context(|| format!("module {name} needs {other}"))?;
    }
    order.push(path.clone());
    Ok(())
}

/// All modules below a folder, by name.
fn find(folder: &Path, there: &mut BTreeMap<String, PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, there)?;
        } else if let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".ko")) {
            there.insert(normal(name), path.clone());
        }
    }
    Ok(())
}

/// The kernel takes both for the same.
fn normal(name: &str) -> String {
    name.replace('-', "_")
}

/// The value of `depends=` among the section's strings, each of which ends with a zero.
fn depends(module: &[u8]) -> Option<&str> {
    const KEY: &[u8] = b"\0depends=";
    let begin = module.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
    let length = module[begin..].iter().position(|byte| *byte == 0)?;
    std::str::from_utf8(&module[begin..begin + length]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_says_what_it_depends_on() {
        assert_eq!(depends(b"ELF\0license=GPL\0depends=udp_tunnel,ip6_udp_tunnel\0name=vxlan\0"), {
            Some("udp_tunnel,ip6_udp_tunnel")
        });
        assert_eq!(depends(b"license=GPL\0depends=\0"), Some(""));
        assert_eq!(depends(b"license=GPL\0"), None);
    }

    #[test]
    fn what_a_module_depends_on_is_loaded_before_it_and_once() {
        let folder = std::env::temp_dir().join(format!("swarmguard-modules-{}", std::process::id()));
        let below = folder.join("net/core");
        std::fs::create_dir_all(&below).unwrap();
        let module = |path: PathBuf, depends: &str| std::fs::write(path, format!("x\0depends={depends}\0")).unwrap();
        module(folder.join("a-top.ko"), "middle,base");
        module(below.join("middle.ko"), "base");
        module(below.join("base.ko"), "");
        let order = in_order(&folder, &["a_top".to_owned(), "base".to_owned()]).unwrap();
        let names: Vec<_> = order.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        let missing = in_order(&folder, &["b".to_owned()]).unwrap_err().to_string();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(names, ["base.ko", "middle.ko", "a-top.ko"]);
        assert!(missing.contains("no module b"), "{missing}");
    }
}
