//! Two rows against each other, pair by pair.
