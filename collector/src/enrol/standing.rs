//! What a certificate that the authority issued is good for now.

use std::time::Duration;

use tokwatt_domain::time::WallTime;
use tokwatt_proto::identity::{Role, Subject};

use super::identity::later;
use crate::{
    peer::{Certified, Peer},
    store::CertificateRow,
};

/// Whoever shows a certificate, as far as it is good now, or why it is not.
///
/// # Errors
/// It was revoked or replaced, never issued, or has expired too long ago; in words for whoever showed it.
pub fn standing(
    certified: Certified,
    row: Option<&CertificateRow>,
    now: WallTime,
) -> Result<Peer, String> {
    let Some(row) = row else {
        return Err(no_longer(
            &certified,
            "is not in this collector's database, which may have been restored from an earlier backup",
        ));
    };
    if let Some(why) = &row.revoked_why {
        return Err(no_longer(&certified, &format!("was revoked: {why}")));
    }
    if now < certified.not_after {
        return Ok(Peer::Certified(certified));
    }
    // People have tokens made; a device that was switched off has nobody to ask.
    if certified.role != Role::Device {
        return Err(no_longer(&certified, "has expired"));
    }
    if now < later(certified.not_after, RENEWABLE) {
        return Ok(Peer::Expired(certified));
    }
    Err(no_longer(
        &certified,
        "has expired more than 90 days ago, too long to be renewed",
    ))
}

/// What to do about it.
pub(super) fn no_longer(certified: &Certified, problem: &str) -> String {
    let Certified { role, name, .. } = certified;
    let option = match role {
        Role::Device => "--device",
        Role::Viewer | Role::Operator => "--name",
    };
    let subject = Subject {
        role: *role,
        name: name.clone(),
    };
    format!(
        "the certificate of {subject} {problem}; to come back, enrol with a token that an operator makes: `tokwatt-collector token create --role {role} {option} {name} --replace`"
    )
}

/// How long a device may have been switched off and still come back by itself.
const RENEWABLE: Duration = Duration::from_hours(90 * 24);

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_US: i64 = 24 * 3600 * 1_000_000;

    fn check(revoked_why: Option<&str>, day: i64) -> Result<Peer, String> {
        check_of(certified(), revoked_why, day)
    }

    fn check_of(certified: Certified, revoked_why: Option<&str>, day: i64) -> Result<Peer, String> {
        let row = CertificateRow {
            serial: vec![1],
            issued_us: 0,
            not_after_us: 30 * DAY_US,
            is_used: true,
            revoked_why: revoked_why.map(str::to_owned),
            is_followed: false,
        };
        standing(certified, Some(&row), WallTime(day * DAY_US))
    }

    fn certified() -> Certified {
        Certified {
            role: Role::Device,
            name: "orin-1".to_owned(),
            serial: vec![1],
            not_after: WallTime(30 * DAY_US),
        }
    }

    #[test]
    fn a_certificate_is_good_then_renewable_then_nothing() {
        assert_eq!(check(None, 29), Ok(Peer::Certified(certified())));
        assert_eq!(check(None, 30), Ok(Peer::Expired(certified())));
        assert_eq!(check(None, 119), Ok(Peer::Expired(certified())));
        let error = check(None, 120).unwrap_err();
        assert!(
            error.contains("90 days") && error.contains("--replace"),
            "{error}"
        );
    }

    #[test]
    fn of_people_an_expired_one_is_good_for_nothing() {
        for role in [Role::Viewer, Role::Operator] {
            let own = || Certified {
                role,
                ..certified()
            };
            assert_eq!(check_of(own(), None, 29), Ok(Peer::Certified(own())));
            let error = check_of(own(), None, 30).unwrap_err();
            assert!(
                error.contains("has expired") && error.contains("--name orin-1 --replace"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_revoked_one_is_good_for_nothing_at_any_time() {
        for day in [1, 40, 200] {
            let error = check(Some("it was stolen"), day).unwrap_err();
            assert!(error.contains("it was stolen"), "{error}");
        }
    }

    #[test]
    fn one_that_nobody_remembers_is_good_for_nothing() {
        let error = standing(certified(), None, WallTime(0)).unwrap_err();
        assert!(error.contains("backup"), "{error}");
    }
}
