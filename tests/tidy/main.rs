//! T.

fn main() {}
