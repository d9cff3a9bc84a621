//! Records in a file, for a device that no network reaches: written by the agent, carried by hand, admitted as if they had been delivered.
//!
//! # Format
//!
//! ```text
//! magic        "tokwatt export 1"         16 bytes; the digit is the version
//! header       frame: ExportHeader        device, epoch, where it begins, chain of certificates
//! record …     frame: Envelope            consecutive sequence numbers of that epoch
//! end          four zero bytes
//! digest       32 bytes                   SHA-256 of everything before
//! signature    frame: ECDSA P-256, ASN.1  of the device's key, over "tokwatt export signature 1\n" and the digest
//!
//! frame        length as four bytes, big-endian; so many bytes, at most a gRPC message
//! ```
//!
//! Both sides hold one record at a time. What a file says may be believed when its end has been read: [`ExportReader::next`] gives
//! records before that, for whoever reads twice. Whether the device is one of ours is the collector's to say.
//!
//! A [`Receipt`] goes back the same way.

use std::{
    fmt,
    io::{self, Read, Write},
};

use bytes::Bytes;
use prost::Message;
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use tokwatt_domain::{
    ids::{DeviceId, Epoch, Seq},
    time::WallTime,
};

use crate::{
    SCHEMA,
    delivery::{Envelope, MESSAGE_BYTES_MAX},
    error::ContractError,
    identity::{CertificateFacts, Credentials, KeyError, UnreadableCertificate},
    v1,
};

pub use receipt::{Receipt, ReceiptError};

mod receipt;

/// What stands before the records.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExportHeader {
    /// Whose they are.
    pub device: DeviceId,
    /// Life of its spool.
    pub epoch: Epoch,
    /// The first record is the one after this.
    pub after: Seq,
    /// Version of the agent, for people.
    pub agent_version: String,
    /// By the device's clock, for people.
    pub exported: WallTime,
    /// Own certificate first, authority last.
    pub chain: Vec<CertificateDer<'static>>,
}

/// Writes an export, record by record.
#[derive(Debug)]
pub struct ExportWriter<W> {
    out: Digested<W>,
    epoch: Epoch,
    last: Seq,
}

/// Reads an export, record by record.
#[derive(Debug)]
pub struct ExportReader<R> {
    input: Digested<R>,
    header: ExportHeader,
    /// By what the header says; nobody has vouched for it.
    facts: CertificateFacts,
    last: Seq,
    seal: Option<Seal>,
}

/// The end of an export, whose digest and signature are right.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Seal {
    /// Last record; that before the first if there is none.
    pub through: Seq,
    /// SHA-256 of everything before its signature.
    pub sha256: [u8; 32],
}

/// An export cannot be written, or not be used.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The file failed.
    #[error("the file failed")]
    File(#[source] io::Error),
    /// It is something else.
    #[error("this is no spool export")]
    NoExport,
    /// Of another version.
    #[error(
        "this is a spool export of version {0}, and version 1 is read here: update the older side"
    )]
    Version(char),
    /// It ends before its end.
    #[error("the export is cut off: copy it again, or export again")]
    Truncated,
    /// It is not as it was written.
    #[error("the export was altered, or damaged on its way: {0}; copy it again, or export again")]
    Altered(&'static str),
    /// Nobody answers for it.
    #[error("the export is not signed: nobody knows whose it is")]
    Unsigned,
    /// A certificate in it is none of ours.
    #[error("the export's certificate cannot be used")]
    Certificate(#[from] UnreadableCertificate),
    /// Its certificate is for somebody else than its records.
    #[error("the export is of device `{device}`, and its certificate is for {certified}")]
    OtherDevice {
        /// By the header.
        device: DeviceId,
        /// By the certificate.
        certified: String,
    },
    /// Something in it makes no sense.
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// The key does not sign.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Records are not consecutive.
    #[error("record {got} follows record {last}: records must be consecutive")]
    Disorder {
        /// The last one before it.
        last: u64,
        /// What came.
        got: u64,
    },
}

/// Bytes on their way, and the digest of all so far.
struct Digested<T> {
    inner: T,
    digest: Sha256,
}

impl<W: Write> ExportWriter<W> {
    /// Begins an export of records of the device that the credentials are of.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn begin(out: W, header: &ExportHeader) -> Result<Self, ExportError> {
        let mut writer = Self {
            out: Digested::new(out),
            epoch: header.epoch,
            last: header.after,
        };
        writer.out.write(MAGIC)?;
        writer.frame(&v1::ExportHeader::from(header.clone()).encode_to_vec())?;
        Ok(writer)
    }

    /// Adds the next record.
    ///
    /// # Errors
    /// It is not the next one, or the file cannot be written.
    pub fn append(&mut self, seq: Seq, record: Vec<u8>) -> Result<(), ExportError> {
        check_next(self.last, seq)?;
        self.last = seq;
        let epoch = self.epoch;
        let record = record.into();
        let envelope = v1::Envelope::from(Envelope { epoch, seq, record });
        self.frame(&envelope.encode_to_vec())
    }

    /// Signs it; gives the file back, which is for the caller to sync.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(mut self, credentials: &Credentials) -> Result<(W, Seal), ExportError> {
        self.out.write(&[0; 4])?;
        let sha256 = self.out.sum();
        self.out.write(&sha256)?;
        let signature = credentials.key().sign(&signed(&sha256))?;
        self.frame(&signature)?;
        self.out.inner.flush().map_err(ExportError::File)?;
        let through = self.last;
        Ok((self.out.inner, Seal { through, sha256 }))
    }

    fn frame(&mut self, bytes: &[u8]) -> Result<(), ExportError> {
        let length = u32::try_from(bytes.len()).expect("records are far smaller than 4 GiB");
        self.out.write(&length.to_be_bytes())?;
        self.out.write(bytes)
    }
}

impl<R: Read> ExportReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// It is no export, or its header makes no sense.
    pub fn open(input: R) -> Result<Self, ExportError> {
        let mut input = Digested::new(input);
        check_magic(&input.read::<16>().map_err(|_| ExportError::NoExport)?)?;
        let header = input.frame()?.ok_or(ExportError::NoExport)?;
        let header = v1::ExportHeader::decode(&*header)
            .map_err(|_| ExportError::Altered("its header cannot be read"))?;
        let header = ExportHeader::try_from(header)?;
        let own = header.chain.first().ok_or(ExportError::Unsigned)?;
        let facts = CertificateFacts::read(own)?;
        if facts.subject.name != header.device.as_str() {
            return Err(ExportError::OtherDevice {
                device: header.device,
                certified: facts.subject.to_string(),
            });
        }
        Ok(Self {
            last: header.after,
            input,
            header,
            facts,
            seal: None,
        })
    }

    /// The next record; `None` at the end, once digest and signature have proved to be right.
    ///
    /// # Errors
    /// The file is cut off, or was altered.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator of results goes on after an error, and this must not"
    )]
    pub fn next(&mut self) -> Result<Option<Envelope>, ExportError> {
        if self.seal.is_some() {
            return Ok(None);
        }
        let Some(frame) = self.input.frame()? else {
            self.seal = Some(self.read_seal()?);
            return Ok(None);
        };
        let envelope = v1::Envelope::decode(Bytes::from(frame))
            .map_err(|_| ExportError::Altered("a record's envelope cannot be read"))?;
        let envelope = Envelope::from(envelope);
        if envelope.epoch != self.header.epoch {
            return Err(ExportError::Altered("a record is of another epoch"));
        }
        check_next(self.last, envelope.seq)?;
        self.last = envelope.seq;
        Ok(Some(envelope))
    }

    /// Reads on to the end; what stands there.
    ///
    /// # Errors
    /// The file is cut off, or was altered.
    pub fn seal(&mut self) -> Result<Seal, ExportError> {
        loop {
            if let Some(seal) = self.seal {
                return Ok(seal);
            }
            self.next()?;
        }
    }

    /// What stands before the records.
    #[must_use]
    pub fn header(&self) -> &ExportHeader {
        &self.header
    }

    /// What the certificate says with whose key it is signed.
    #[must_use]
    pub fn facts(&self) -> &CertificateFacts {
        &self.facts
    }

    fn read_seal(&mut self) -> Result<Seal, ExportError> {
        let sha256 = self.input.sum();
        if self.input.read::<32>()? != sha256 {
            return Err(ExportError::Altered("its digest is another one"));
        }
        let signature = self.input.frame()?.ok_or(ExportError::Unsigned)?;
        self.facts
            .verify(&signed(&sha256), &signature)
            .map_err(|_| ExportError::Altered("its signature is not that of its certificate"))?;
        match self.input.inner.read(&mut [0]) {
            Ok(0) => Ok(Seal {
                through: self.last,
                sha256,
            }),
            Ok(_) => Err(ExportError::Altered("something stands behind its end")),
            Err(error) => Err(ExportError::File(error)),
        }
    }
}

impl<T> Digested<T> {
    fn new(inner: T) -> Self {
        let digest = Sha256::new();
        Self { inner, digest }
    }

    fn sum(&self) -> [u8; 32] {
        self.digest.clone().finalize().into()
    }
}

impl<W: Write> Digested<W> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), ExportError> {
        self.digest.update(bytes);
        self.inner.write_all(bytes).map_err(ExportError::File)
    }
}

impl<R: Read> Digested<R> {
    fn read<const N: usize>(&mut self) -> Result<[u8; N], ExportError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// `None` for four zero bytes, which are no frame.
    fn frame(&mut self) -> Result<Option<Vec<u8>>, ExportError> {
        let length = u32::from_be_bytes(self.read()?);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > MESSAGE_BYTES_MAX {
            return Err(ExportError::Altered(
                "a part of it is larger than any record",
            ));
        }
        let mut bytes = vec![0; length];
        self.fill(&mut bytes)?;
        Ok(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), ExportError> {
        self.inner
            .read_exact(bytes)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => ExportError::Truncated,
                _ => ExportError::File(error),
            })?;
        self.digest.update(&*bytes);
        Ok(())
    }
}

/// The digest's inner state is nobody's business.
impl<T: fmt::Debug> fmt::Debug for Digested<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl From<ExportHeader> for v1::ExportHeader {
    fn from(header: ExportHeader) -> Self {
        Self {
            schema: SCHEMA,
            device: header.device.into(),
            epoch: header.epoch.0,
            after: header.after.0,
            agent_version: header.agent_version,
            exported_us: header.exported.0,
            chain: header.chain.iter().map(|der| der.to_vec()).collect(),
        }
    }
}

impl TryFrom<v1::ExportHeader> for ExportHeader {
    type Error = ContractError;

    /// # Errors
    /// [`ContractError::Schema`] if the records are of another schema; a `Field` otherwise.
    fn try_from(header: v1::ExportHeader) -> Result<Self, ContractError> {
        if header.schema != SCHEMA {
            return Err(ContractError::Schema {
                theirs: header.schema,
            });
        }
        Ok(Self {
            device: DeviceId::parse(&header.device)
                .map_err(|error| ContractError::field("export.device", error.to_string()))?,
            epoch: Epoch(header.epoch),
            after: Seq(header.after),
            agent_version: header.agent_version,
            exported: WallTime(header.exported_us),
            chain: header.chain.into_iter().map(CertificateDer::from).collect(),
        })
    }
}

fn check_magic(found: &[u8; 16]) -> Result<(), ExportError> {
    if found == MAGIC {
        return Ok(());
    }
    let [name @ .., version] = found;
    if name == &MAGIC[..15] && version.is_ascii_graphic() {
        return Err(ExportError::Version(char::from(*version)));
    }
    Err(ExportError::NoExport)
}

fn check_next(last: Seq, got: Seq) -> Result<(), ExportError> {
    if Some(got.0) == last.0.checked_add(1) {
        return Ok(());
    }
    Err(ExportError::Disorder {
        last: last.0,
        got: got.0,
    })
}

/// What is signed: nothing else that the key ever signs begins like this.
fn signed(sha256: &[u8; 32]) -> Vec<u8> {
    [SIGNED, sha256].concat()
}

const MAGIC: &[u8; 16] = b"tokwatt export 1";
const SIGNED: &[u8] = b"tokwatt export signature 1\n";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::identity::made_up::{MadeUpAuthority, NOW};

    fn header(credentials: &Credentials) -> ExportHeader {
        ExportHeader {
            device: DeviceId::parse(&credentials.facts().subject.name).unwrap(),
            epoch: Epoch(7),
            after: Seq(2),
            agent_version: "0.1.0".to_owned(),
            exported: NOW,
            chain: credentials.chain().to_vec(),
        }
    }

    fn export(credentials: &Credentials, records: &[&[u8]]) -> Vec<u8> {
        let mut writer = ExportWriter::begin(Vec::new(), &header(credentials)).unwrap();
        for (seq, record) in (3..).zip(records) {
            writer.append(Seq(seq), record.to_vec()).unwrap();
        }
        writer.finish(credentials).unwrap().0
    }

    /// All records, and that the end is right.
    fn read(bytes: &[u8]) -> Result<Vec<Envelope>, ExportError> {
        let mut reader = ExportReader::open(bytes)?;
        let mut found = Vec::new();
        while let Some(envelope) = reader.next()? {
            found.push(envelope);
        }
        let seal = reader.seal()?;
        assert_eq!(seal.through.0, 2 + found.len() as u64);
        Ok(found)
    }

    #[test]
    fn what_is_written_is_read() {
        let device = MadeUpAuthority::new().device("orin-1", 30);
        let cases: [&[&[u8]]; 3] = [&[], &[b"one"], &[b"one", b"", b"three"]];
        for records in cases {
            let bytes = export(&device, records);
            let found = read(&bytes).unwrap();
            assert!(found.iter().all(|envelope| envelope.epoch == Epoch(7)));
            let found: Vec<&[u8]> = found.iter().map(|envelope| &*envelope.record).collect();
            assert_eq!(found, records);
            let reader = ExportReader::open(&*bytes).unwrap();
            assert_eq!(reader.header(), &header(&device));
            assert_eq!(reader.facts(), device.facts());
        }
    }

    #[test]
    fn a_file_that_is_cut_off_anywhere_is_refused() {
        let device = MadeUpAuthority::new().device("orin-1", 30);
        let whole = export(&device, &[b"one", b"two"]);
        for length in 0..whole.len() {
            let refused = read(&whole[..length]).unwrap_err();
            let is_named = match length {
                0..16 => matches!(refused, ExportError::NoExport),
                _ => matches!(refused, ExportError::Truncated),
            };
            assert!(is_named, "{length}: {refused}");
        }
    }

    #[test]
    fn a_file_with_any_bit_changed_is_refused() {
        let device = MadeUpAuthority::new().device("orin-1", 30);
        let whole = export(&device, &[b"one", b"two"]);
        for place in 0..whole.len() {
            let mut changed = whole.clone();
            changed[place] ^= 1;
            assert!(read(&changed).is_err(), "byte {place}");
        }
        let longer = [&whole[..], b"x"].concat();
        assert!(matches!(read(&longer), Err(ExportError::Altered(_))));
    }

    #[test]
    fn a_file_that_another_key_signed_or_nobody_is_refused() {
        let authority = MadeUpAuthority::new();
        let [one, two] = [(); 2].map(|()| authority.device("orin-1", 30));
        let forged = |credentials| {
            let writer = ExportWriter::begin(Vec::new(), &header(&one)).unwrap();
            writer.finish(credentials).unwrap().0
        };
        assert!(read(&forged(&one)).is_ok());
        let other = read(&forged(&two)).unwrap_err().to_string();
        assert!(other.contains("signature"), "{other}");

        let whole = export(&one, &[]);
        let n_signature = one.key().sign(b"").unwrap().len();
        // ECDSA's signatures differ in length by a byte or two; the digest does not.
        let end = (0..whole.len())
            .find(|place| Sha256::digest(&whole[..*place])[..] == whole[*place..][..32])
            .unwrap();
        assert!(whole.len() - end - 36 >= n_signature - 4);
        let unsigned = [&whole[..end + 32], &[0; 4]].concat();
        assert!(matches!(read(&unsigned), Err(ExportError::Unsigned)));
    }

    #[test]
    fn a_device_cannot_speak_for_another_one() {
        let device = MadeUpAuthority::new().device("orin-1", 30);
        let header = ExportHeader {
            device: DeviceId::parse("orin-2").unwrap(),
            ..header(&device)
        };
        let writer = ExportWriter::begin(Vec::new(), &header).unwrap();
        let bytes = writer.finish(&device).unwrap().0;
        let refused = read(&bytes).unwrap_err().to_string();
        assert!(
            refused.contains("orin-1") && refused.contains("orin-2"),
            "{refused}"
        );
    }

    #[test]
    fn records_that_are_not_consecutive_are_not_written() {
        let device = MadeUpAuthority::new().device("orin-1", 30);
        let mut writer = ExportWriter::begin(Vec::new(), &header(&device)).unwrap();
        for seq in [0, 2, 4, u64::MAX] {
            let refused = writer.append(Seq(seq), Vec::new());
            assert!(matches!(
                refused,
                Err(ExportError::Disorder { last: 2, .. })
            ));
        }
        writer.append(Seq(3), Vec::new()).unwrap();
    }

    #[test]
    fn a_later_version_is_said_to_be_one() {
        let refused = ExportReader::open(&b"tokwatt export 2 and whatever"[..]);
        assert!(matches!(refused, Err(ExportError::Version('2'))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_without_panic(tail in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(read(&[&MAGIC[..], &tail].concat()).is_err());
            prop_assert!(read(&tail).is_err());
        }
    }
}
