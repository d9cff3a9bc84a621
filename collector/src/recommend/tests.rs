//! Made-up cells with answers known beforehand.
