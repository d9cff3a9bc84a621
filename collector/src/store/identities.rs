//! Who may do what: tokens that are used once, certificates and whether they are good, labels of devices.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, params};
use tokwatt_domain::ids::DeviceId;
use tokwatt_proto::identity::{Role, Subject};

use super::StoreError;

/// A token as it is made: without its secret.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Its public part.
    pub id: String,
    /// SHA-256 of its secret part.
    pub secret_sha256: [u8; 32],
    /// What it enrols for.
    pub role: Role,
    /// The only name that it enrols, if there is only one.
    pub name: Option<String>,
    /// Whether a name that has a certificate may get another one.
    pub may_replace: bool,
    /// Now, in µs since 1970.
    pub created_us: i64,
    /// By whom, for people.
    pub created_by: String,
    /// Its end, in µs since 1970.
    pub expires_us: i64,
}

/// A token as it is stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TokenRow {
    /// Its public part.
    pub id: String,
    /// SHA-256 of its secret part.
    pub secret_sha256: [u8; 32],
    /// What it enrols for.
    pub role: String,
    /// The only name that it enrols, if there is only one.
    pub name: Option<String>,
    /// Whether a name that has a certificate may get another one.
    pub may_replace: bool,
    /// When it was made, in µs since 1970.
    pub created_us: i64,
    /// By whom.
    pub created_by: String,
    /// Its end, in µs since 1970.
    pub expires_us: i64,
    /// Whom it enrolled, once it is used.
    pub used_by: Option<String>,
    /// When it was revoked, if it was.
    pub revoked_us: Option<i64>,
}

/// A certificate that is about to be handed out.
#[derive(Clone, Debug)]
pub struct NewCertificate {
    /// Serial number, big-endian.
    pub serial: Vec<u8>,
    /// Whose.
    pub subject: Subject,
    /// SHA-256 of its public key.
    pub key_sha256: [u8; 32],
    /// Now, in µs since 1970.
    pub issued_us: i64,
    /// Its end, in µs since 1970.
    pub not_after_us: i64,
}

/// A token handed in for a certificate.
#[derive(Clone, Debug)]
pub struct Redemption {
    /// Public part of the token.
    pub token: String,
    /// SHA-256 of the secret that was handed in.
    pub secret_sha256: [u8; 32],
    /// What it is to be used for.
    pub certificate: NewCertificate,
    /// Of the program that asks, for people.
    pub version: String,
}

/// Why a token was not taken. Nothing was changed: it may still be good for what it was made for.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotRedeemed {
    /// There is none, or its secret is another one: that is not told apart.
    #[error("there is no such token; an operator makes one with `tokwatt-collector token create`")]
    Unknown,
    /// It was used.
    #[error(
        "this token has enrolled {0} and is good only once; an operator makes another one with `tokwatt-collector token create`, and for the same name, if the answer to it was lost, with `--device NAME --replace`"
    )]
    Used(String),
    /// Its time is over.
    #[error(
        "this token has expired, it was good for 15 minutes; an operator makes another one with `tokwatt-collector token create`"
    )]
    Expired,
    /// An operator took it back.
    #[error("this token was revoked; ask an operator for another one")]
    Revoked,
    /// It was made out for another name.
    #[error("this token is for `{allowed}`, not for `{asked}`: enrol with --name {allowed}")]
    OtherName {
        /// For whom it is.
        allowed: String,
        /// Who asked.
        asked: String,
    },
    /// The name is taken.
    #[error(
        "{0} has a certificate already: choose another name, or have an operator make a token with --replace, which revokes the earlier certificate"
    )]
    Exists(Subject),
}

/// Why a certificate is not followed by another one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NotRenewed {
    /// It is revoked, or was never issued.
    NotGood,
    /// A later one is in use.
    Followed,
    /// Half of its life is not over.
    Early,
}

/// What is known of a certificate that was issued.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificateRow {
    /// Serial number, big-endian.
    pub serial: Vec<u8>,
    /// When it was issued, in µs since 1970.
    pub issued_us: i64,
    /// Its end, in µs since 1970.
    pub not_after_us: i64,
    /// Whether it was seen on a connection.
    pub is_used: bool,
    /// Why it was revoked, if it was.
    pub revoked_why: Option<String>,
    /// Whether a later one of the same name was seen on a connection.
    pub is_followed: bool,
}

/// Labels of a device by name.
pub type Labels = BTreeMap<String, String>;

pub(super) fn put_token(connection: &Connection, token: &NewToken) -> Result<(), StoreError> {
    connection.execute(
        "INSERT INTO token (id, secret_sha256, role, name, may_replace, created_us, created_by, expires_us)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            token.id,
            token.secret_sha256,
            token.role.name(),
            token.name,
            token.may_replace,
            token.created_us,
            token.created_by,
            token.expires_us
        ],
    )?;
    Ok(())
}

/// Takes a token back; `false` if there is none.
pub(super) fn revoke_token(
    connection: &Connection,
    id: &str,
    now_us: i64,
) -> Result<bool, StoreError> {
    let changed = connection.execute(
        "UPDATE token SET revoked_us = coalesce(revoked_us, ?2) WHERE id = ?1",
        params![id, now_us],
    )?;
    Ok(changed > 0)
}

/// Uses a token up and notes the certificate that it buys, or changes nothing. The one that is returned is how many certificates of
/// the same name were revoked by it.
pub(super) fn redeem(
    connection: &Connection,
    redemption: &Redemption,
) -> Result<Result<usize, NotRedeemed>, StoreError> {
    let certificate = &redemption.certificate;
    let Some(token) = token(connection, &redemption.token)? else {
        return Ok(Err(NotRedeemed::Unknown));
    };
    if let Some(refusal) = refusal(&token, redemption) {
        return Ok(Err(refusal));
    }
    if !token.may_replace && has_certificate(connection, &certificate.subject)? {
        return Ok(Err(NotRedeemed::Exists(certificate.subject.clone())));
    }
    // The condition, not what was read above, is what makes it single use.
    let used = connection.execute(
        "UPDATE token SET used_us = ?2, used_by = ?3
         WHERE id = ?1 AND used_us IS NULL AND revoked_us IS NULL AND expires_us > ?2",
        params![
            token.id,
            certificate.issued_us,
            certificate.subject.to_string()
        ],
    )?;
    if used == 0 {
        return Ok(Err(NotRedeemed::Used("somebody".to_owned())));
    }
    let replaced = revoke(
        connection,
        &certificate.subject,
        "it was replaced by a new enrolment",
        certificate.issued_us,
    )?;
    put_certificate(connection, certificate)?;
    if certificate.subject.role == Role::Device {
        connection.execute(
            "INSERT INTO device (id, agent_version) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            params![certificate.subject.name, redemption.version],
        )?;
    }
    Ok(Ok(replaced))
}

/// Notes a certificate that follows another one, if that one is good.
pub(super) fn renew(
    connection: &Connection,
    earlier: &[u8],
    certificate: &NewCertificate,
) -> Result<Result<(), NotRenewed>, StoreError> {
    let earlier = self::certificate(connection, earlier)?;
    let Some(earlier) = earlier.filter(|earlier| earlier.revoked_why.is_none()) else {
        return Ok(Err(NotRenewed::NotGood));
    };
    if earlier.is_followed {
        return Ok(Err(NotRenewed::Followed));
    }
    let life_us = earlier.not_after_us.saturating_sub(earlier.issued_us);
    if certificate.issued_us < earlier.issued_us.saturating_add(life_us / 2) {
        return Ok(Err(NotRenewed::Early));
    }
    put_certificate(connection, certificate).map(Ok)
}

fn put_certificate(
    connection: &Connection,
    certificate: &NewCertificate,
) -> Result<(), StoreError> {
    connection.execute(
        "INSERT INTO certificate (serial, role, name, key_sha256, issued_us, not_after_us)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            certificate.serial,
            certificate.subject.role.name(),
            certificate.subject.name,
            certificate.key_sha256,
            certificate.issued_us,
            certificate.not_after_us
        ],
    )?;
    Ok(())
}

/// Revokes every certificate of a name that is not revoked yet, and every token that is made out for it or that it made; returns how many
/// certificates that were.
pub(super) fn revoke(
    connection: &Connection,
    subject: &Subject,
    why: &str,
    now_us: i64,
) -> Result<usize, StoreError> {
    let who = (subject.role.name(), &subject.name);
    connection.execute(
        "UPDATE token SET revoked_us = ?4
         WHERE (role = ?1 AND name = ?2 OR created_by = ?3) AND used_us IS NULL AND revoked_us IS NULL",
        params![who.0, who.1, subject.to_string(), now_us],
    )?;
    let revoked = connection.execute(
        "UPDATE certificate SET revoked_us = ?3, revoked_why = ?4
         WHERE role = ?1 AND name = ?2 AND revoked_us IS NULL",
        params![who.0, who.1, now_us, why],
    )?;
    Ok(revoked)
}

/// Notes that a certificate is in use.
pub(super) fn put_used(
    connection: &Connection,
    serial: &[u8],
    now_us: i64,
) -> Result<(), StoreError> {
    connection.execute(
        "UPDATE certificate SET first_used_us = ?2 WHERE serial = ?1 AND first_used_us IS NULL",
        params![serial, now_us],
    )?;
    Ok(())
}

/// Sets labels of a device and takes others away; `false` if there is no such device.
pub(super) fn label(
    connection: &Connection,
    device: &DeviceId,
    set: &Labels,
    remove: &[String],
) -> Result<bool, StoreError> {
    let known: Option<i64> = connection
        .query_row(
            "SELECT 1 FROM device WHERE id = ?1",
            params![device.as_str()],
            |row| row.get(0),
        )
        .optional()?;
    if known.is_none() {
        return Ok(false);
    }
    for label in remove {
        connection.execute(
            "DELETE FROM device_label WHERE device = ?1 AND label = ?2",
            params![device.as_str(), label],
        )?;
    }
    for (label, value) in set {
        connection.execute(
            "INSERT INTO device_label (device, label, value) VALUES (?1, ?2, ?3)
             ON CONFLICT (device, label) DO UPDATE SET value = excluded.value",
            params![device.as_str(), label, value],
        )?;
    }
    Ok(true)
}

pub(super) fn tokens(connection: &Connection) -> rusqlite::Result<Vec<TokenRow>> {
    let mut statement =
        connection.prepare_cached(&format!("{SELECT_TOKEN} ORDER BY created_us DESC, id"))?;
    let tokens = statement.query_map([], token_row)?;
    tokens.collect()
}

pub(super) fn token(connection: &Connection, id: &str) -> rusqlite::Result<Option<TokenRow>> {
    let mut statement = connection.prepare_cached(&format!("{SELECT_TOKEN} WHERE id = ?1"))?;
    statement.query_row(params![id], token_row).optional()
}

pub(super) fn has_certificate(
    connection: &Connection,
    subject: &Subject,
) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM certificate WHERE role = ?1 AND name = ?2)")?
        .query_row(params![subject.role.name(), subject.name], |row| row.get(0))
}

pub(super) fn certificate(
    connection: &Connection,
    serial: &[u8],
) -> rusqlite::Result<Option<CertificateRow>> {
    let mut statement =
        connection.prepare_cached(&format!("{SELECT_CERTIFICATE} WHERE serial = ?1"))?;
    let row = statement.query_row(params![serial], certificate_row);
    row.optional()
}

/// Whether anybody was ever enrolled.
pub(super) fn has_certificates(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT EXISTS (SELECT 1 FROM certificate)", [], |row| {
        row.get(0)
    })
}

/// The latest certificate of a name.
pub(super) fn latest_certificate(
    connection: &Connection,
    role: Role,
    name: &str,
) -> rusqlite::Result<Option<CertificateRow>> {
    let mut statement = connection.prepare_cached(&format!(
        "{SELECT_CERTIFICATE} WHERE role = ?1 AND name = ?2 ORDER BY number DESC LIMIT 1"
    ))?;
    let row = statement.query_row(params![role.name(), name], certificate_row);
    row.optional()
}

pub(super) fn labels(connection: &Connection, device: &str) -> rusqlite::Result<Labels> {
    let mut statement =
        connection.prepare_cached("SELECT label, value FROM device_label WHERE device = ?1")?;
    let labels = statement.query_map(params![device], |row| Ok((row.get(0)?, row.get(1)?)))?;
    labels.collect()
}

/// Why a token cannot be used for this; of its secret's owner only, so that nobody else learns anything.
fn refusal(token: &TokenRow, redemption: &Redemption) -> Option<NotRedeemed> {
    let subject = &redemption.certificate.subject;
    if token.secret_sha256 != redemption.secret_sha256 || token.role != subject.role.name() {
        return Some(NotRedeemed::Unknown);
    }
    if let Some(used_by) = &token.used_by {
        return Some(NotRedeemed::Used(used_by.clone()));
    }
    if token.revoked_us.is_some() {
        return Some(NotRedeemed::Revoked);
    }
    if token.expires_us <= redemption.certificate.issued_us {
        return Some(NotRedeemed::Expired);
    }
    let allowed = token.name.as_ref().filter(|name| **name != subject.name)?;
    Some(NotRedeemed::OtherName {
        allowed: allowed.clone(),
        asked: subject.name.clone(),
    })
}

fn token_row(row: &Row<'_>) -> rusqlite::Result<TokenRow> {
    Ok(TokenRow {
        id: row.get(0)?,
        secret_sha256: row.get(1)?,
        role: row.get(2)?,
        name: row.get(3)?,
        may_replace: row.get(4)?,
        created_us: row.get(5)?,
        created_by: row.get(6)?,
        expires_us: row.get(7)?,
        used_by: row.get(8)?,
        revoked_us: row.get(9)?,
    })
}

fn certificate_row(row: &Row<'_>) -> rusqlite::Result<CertificateRow> {
    Ok(CertificateRow {
        serial: row.get(0)?,
        issued_us: row.get(1)?,
        not_after_us: row.get(2)?,
        is_used: row.get(3)?,
        revoked_why: row.get(4)?,
        is_followed: row.get(5)?,
    })
}

const SELECT_TOKEN: &str = "SELECT id, secret_sha256, role, name, may_replace, created_us, created_by, expires_us, used_by, revoked_us
     FROM token";

const SELECT_CERTIFICATE: &str = "SELECT serial, issued_us, not_after_us, first_used_us IS NOT NULL, revoked_why,
         EXISTS (SELECT 1 FROM certificate later
                 WHERE later.role = certificate.role AND later.name = certificate.name
                     AND later.number > certificate.number AND later.first_used_us IS NOT NULL AND later.revoked_us IS NULL)
     FROM certificate";
