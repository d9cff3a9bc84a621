//! The fleet's memory and judgement: admit, store, roll up, rank, show.

#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

/// The wall clock, for dates.
pub mod clock;

/// Who is at the other end, and what they may do.
pub mod peer;

/// What it counts of itself.
pub mod vitals;

/// Who belongs to the site: authority, tokens, certificates.
pub mod enrol;

/// Deliveries in: who, what, once.
pub mod ingest;

/// Results that come as files.
pub mod exchange;

/// Work out: campaigns to jobs, jobs to leases, leases to devices.
pub mod dispatch;

/// Durable: what was delivered, and what was made of it.
pub mod store;

/// Finished runs to reports, and runs of a kind to cells.
pub mod rollup;

/// Raw samples that are kept no longer.
pub mod retention;

/// What studies published, as data.
pub mod published;

/// Whether the database is what it says, and whether studies do.
pub mod check;

/// Runs to a board. Pure.
pub mod rank;

/// Two rows against each other, pair by pair. Pure.
pub mod compare;

/// Use cases to the best configuration for each. Pure.
pub mod recommend;

/// What a plan comes to: memory, time, energy, money. Pure.
pub mod estimate;

/// Pictures of figures: what is shown, and how it is drawn.
pub mod chart;

/// The questions that command line, web and gRPC all ask.
pub mod query;

/// Documents as tables, CSV and Markdown.
pub mod report;

/// Health, readiness and figures for whoever watches the collector, over HTTP.
pub mod web;

/// A copy of the data folder that can be served, made while the collector goes on.
pub mod backup;

/// What can be set, and where it was.
pub mod settings;

/// All of it behind one address.
pub mod server;

/// The command line.
pub mod cli;
