//! Use cases to the best configuration for each.
