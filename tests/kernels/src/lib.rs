//! The agent on other kernels: what tests ask of it there, and what it ought to answer.
//!
//! - [`binaries`]: the programs under test, for both architectures
//! - [`boot`]: the machines, each booted once for all tests, and what their scripts printed
//! - [`transfer`]: the traffic between two cgroups, and what whoever counts it should have counted
//! - [`sample`]: what the agent counted

pub mod binaries;

pub mod boot;

pub mod transfer;

pub mod sample;
