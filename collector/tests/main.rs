//! The collector from outside: real deliveries over loopback, and its binary.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod agent;
mod answers;
mod backup;
mod boards;
mod campaigns;
mod check;
mod command_line;
mod delivery;
mod exchange;
mod identity;
mod lab;
mod operations;
mod pages;
mod people;
mod report;
