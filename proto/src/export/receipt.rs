//! The collector's word that an export is committed, for the device to take it for an acknowledgement.
//!
//! # Format
//!
//! ```text
//! magic     "tokwatt receipt 1\n"
//! rest      SignedExportReceipt; the signature is the site's authority's, over the magic and the receipt
//! ```

use prost::Message;
use tokwatt_domain::{
    ids::{DeviceId, Epoch, Seq},
    time::WallTime,
};

use crate::{
    identity::{Authority, KeyError, PrivateKey},
    v1,
};

/// Everything of a device's epoch up to there is committed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Receipt {
    /// Whose.
    pub device: DeviceId,
    /// Of which life of its spool.
    pub epoch: Epoch,
    /// Up to and including.
    pub through: Seq,
    /// Of the export that was handed in.
    pub export_sha256: [u8; 32],
    /// By the collector's clock, for people.
    pub imported: WallTime,
}

/// A file is no receipt, or nobody's whom we go by.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    /// It is something else.
    #[error(
        "this is no receipt of an import: `tokwatt-collector import` writes one beside the export, with .receipt at its end"
    )]
    NoReceipt,
    /// Another authority's, or altered.
    #[error(
        "the receipt was altered, or is not of the site where this device is enrolled; nothing is taken for delivered"
    )]
    Signature,
}

impl Receipt {
    /// As a file, signed by the authority's key.
    ///
    /// # Errors
    /// The key does not sign.
    pub fn sign(&self, authority: &PrivateKey) -> Result<Vec<u8>, KeyError> {
        let receipt = v1::ExportReceipt {
            device: self.device.as_str().to_owned(),
            epoch: self.epoch.0,
            through: self.through.0,
            export_sha256: self.export_sha256.to_vec(),
            imported_us: self.imported.0,
        };
        let receipt = receipt.encode_to_vec();
        let signature = authority.sign(&[MAGIC, &receipt].concat())?;
        let signed = v1::SignedExportReceipt { receipt, signature };
        Ok([MAGIC, &signed.encode_to_vec()].concat())
    }

    /// Reads what [`sign`](Self::sign) of that authority wrote.
    ///
    /// # Errors
    /// Anything else.
    pub fn read(bytes: &[u8], authority: &Authority) -> Result<Self, ReceiptError> {
        let no_receipt = || ReceiptError::NoReceipt;
        let rest = bytes.strip_prefix(MAGIC).ok_or_else(no_receipt)?;
        let signed = v1::SignedExportReceipt::decode(rest).map_err(|_| no_receipt())?;
        authority
            .verify(&[MAGIC, &signed.receipt].concat(), &signed.signature)
            .map_err(|_| ReceiptError::Signature)?;
        let receipt = v1::ExportReceipt::decode(&*signed.receipt).map_err(|_| no_receipt())?;
        Ok(Self {
            device: DeviceId::parse(&receipt.device).map_err(|_| no_receipt())?,
            epoch: Epoch(receipt.epoch),
            through: Seq(receipt.through),
            export_sha256: receipt.export_sha256.try_into().map_err(|_| no_receipt())?,
            imported: WallTime(receipt.imported_us),
        })
    }
}

const MAGIC: &[u8] = b"tokwatt receipt 1\n";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::made_up::{MadeUpAuthority, NOW};

    fn receipt() -> Receipt {
        Receipt {
            device: DeviceId::parse("orin-1").unwrap(),
            epoch: Epoch(7),
            through: Seq(9),
            export_sha256: [3; 32],
            imported: NOW,
        }
    }

    #[test]
    fn a_receipt_is_good_as_it_was_signed_and_not_otherwise() {
        let [ours, theirs] = [(); 2].map(|()| MadeUpAuthority::new());
        let bytes = receipt().sign(ours.key()).unwrap();
        let authority = ours.authority();
        assert_eq!(Receipt::read(&bytes, &authority).unwrap(), receipt());
        let other = Receipt::read(&bytes, &theirs.authority());
        assert!(matches!(other, Err(ReceiptError::Signature)));
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            assert!(Receipt::read(&changed, &authority).is_err(), "byte {place}");
            assert!(Receipt::read(&bytes[..place], &authority).is_err());
        }
    }
}
