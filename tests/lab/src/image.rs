//! Getting an image onto every node: built once, on the first node, and copied from there.
//!
//! Copied rather than built everywhere, so that all nodes have the very same image id; and rather than through a
//! registry, because there is none that the lab could reach.

use std::path::Path;

use anyhow::{Context, Result, bail};
use bollard::Docker;
use bollard::query_parameters::{BuildImageOptionsBuilder, ImportImageOptionsBuilder};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::future::try_join_all;

use crate::lab::{Lab, Node};

/// Images for the lab are one static program on an empty base.
const IMAGE_BYTES_MAX: usize = 256 << 20;

/// One file of the build context.
#[derive(Debug, Clone)]
pub struct ImageFile {
    /// Its path in the context.
    pub path: String,
    /// Permission bits, `0o755` for a program.
    pub mode: u32,
    /// What is in it.
    pub contents: Bytes,
}

impl ImageFile {
    /// A program from this machine's disk.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn program(path: &str, source: &Path) -> Result<Self> {
        let contents = std::fs::read(source).with_context(|| format!("read {}; build it first", source.display()))?;
        Ok(Self { path: path.to_owned(), mode: 0o755, contents: contents.into() })
    }
}

/// Builds an image from a Dockerfile and its files, under `tag` (`name:version`), and puts it on every node.
///
/// The build has no network: start from `scratch`.
///
/// # Errors
/// When the build fails, with what Docker said, or when a node does not take the image.
pub async fn load_image(lab: &Lab, tag: &str, dockerfile: &str, files: &[ImageFile]) -> Result<()> {
    let context = build_context(dockerfile, files)?;
    let (first, others) = lab.nodes().split_first().context("the lab has no nodes")?;
    let docker = first.docker().await?;
    build(&docker, tag, context).await.with_context(|| format!("build the image {tag} on {}", first.hostname()))?;
    if others.is_empty() {
        return Ok(());
    }
    let image = export(&docker, tag).await.with_context(|| format!("export {tag} from {}", first.hostname()))?;
    try_join_all(others.iter().map(|node| import(node, tag, image.clone()))).await?;
    Ok(())
}

fn build_context(dockerfile: &str, files: &[ImageFile]) -> Result<Bytes> {
    let mut archive = tar::Builder::new(Vec::new());
    append(&mut archive, "Dockerfile", 0o644, dockerfile.as_bytes())?;
    for file in files {
        append(&mut archive, &file.path, file.mode, &file.contents)?;
    }
    Ok(archive.into_inner().context("finish the build context")?.into())
}

fn append(archive: &mut tar::Builder<Vec<u8>>, path: &str, mode: u32, contents: &[u8]) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(u64::try_from(contents.len()).context("measure the file")?);
    header.set_mode(mode);
    archive.append_data(&mut header, path, contents).with_context(|| format!("add {path} to the build context"))
}

async fn build(docker: &Docker, tag: &str, context: Bytes) -> Result<()> {
    let options = BuildImageOptionsBuilder::default().t(tag).rm(true).forcerm(true).build();
    let mut lines = docker.build_image(options, None, Some(bollard::body_full(context)));
    while let Some(line) = lines.next().await {
        if let Some(error) = line?.error_detail {
            bail!("{}", error.message.unwrap_or_else(|| "the build failed without saying why".to_owned()));
        }
    }
    Ok(())
}

async fn export(docker: &Docker, tag: &str) -> Result<Bytes> {
    let mut image = BytesMut::new();
    let mut chunks = std::pin::pin!(docker.export_image(tag));
    while let Some(chunk) = chunks.next().await {
        image.extend_from_slice(&chunk?);
        if image.len() > IMAGE_BYTES_MAX {
            bail!("the image is larger than {IMAGE_BYTES_MAX} bytes; start from scratch and add only what is needed");
        }
    }
    Ok(image.freeze())
}

async fn import(node: &Node, tag: &str, image: Bytes) -> Result<()> {
    let docker = node.docker().await?;
    let options = ImportImageOptionsBuilder::default().quiet(true).build();
    let mut lines = docker.import_image(options, bollard::body_full(image), None);
    while let Some(line) = lines.next().await {
        line.with_context(|| format!("load {tag} on {}", node.hostname()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_build_context_holds_the_dockerfile_and_programs_that_can_be_run() {
        let files = [ImageFile { path: "bin/app".to_owned(), mode: 0o755, contents: Bytes::from_static(b"program") }];
        let context = build_context("FROM scratch\n", &files).unwrap();
        let mut archive = tar::Archive::new(&context[..]);
        let entries: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                (entry.path().unwrap().into_owned(), entry.header().mode().unwrap())
            })
            .collect();
        assert_eq!(entries, [("Dockerfile".into(), 0o644), ("bin/app".into(), 0o755)]);
    }
}
