//! The use cases that are built in: the files in `configs/rankings/`, to be copied and changed.

use tokwatt_domain::spelling;

/// A use case that is built in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shipped {
    /// Its name, and that of its file.
    pub name: &'static str,
    /// The file.
    pub text: &'static str,
}

/// The one of that name.
///
/// # Errors
/// There is none; what was probably meant.
pub fn shipped(name: &str) -> Result<Shipped, String> {
    let found = SHIPPED.into_iter().find(|shipped| shipped.name == name);
    found.ok_or_else(|| {
        let names = SHIPPED.map(|shipped| shipped.name);
        spelling::advice(name, &names)
    })
}

macro_rules! file {
    ($name:literal) => {
        Shipped {
            name: $name,
            text: include_str!(concat!("../../../configs/rankings/", $name, ".toml")),
        }
    };
}

/// All of them.
pub const SHIPPED: [Shipped; 6] = [
    file!("real-time-stream"),
    file!("detailed-understanding"),
    file!("batch-throughput"),
    file!("power-constrained"),
    file!("production-reliability"),
    file!("balanced"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recommend::UseCase;

    #[test]
    fn every_use_case_that_is_shipped_can_be_read_and_has_the_name_of_its_file() {
        for shipped in SHIPPED {
            let case = UseCase::parse(shipped.text).unwrap();
            assert_eq!(case.name, shipped.name);
        }
    }

    #[test]
    fn a_misspelt_use_case_suggests_the_nearest() {
        assert_eq!(
            shipped("realtime-stream").unwrap_err(),
            "did you mean `real-time-stream`?"
        );
        assert_eq!(shipped("balanced").unwrap().name, "balanced");
    }
}
