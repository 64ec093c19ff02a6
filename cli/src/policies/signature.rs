//! Signatures of values of PCR 13, as systemd reads them from `tpm2-pcr-signature.json`.
//!
//! A secret that is bound to a public key and PCR 13 (`systemd-cryptenroll --tpm2-public-key=KEY --tpm2-public-key-pcrs=13`) can be
//! unsealed if the policy about the present value (`TPM2_PolicyPCR`) has a signature of that key (`TPM2_PolicyAuthorize`). systemd finds
//! it by bank, set of PCRs, fingerprint of the key, and policy (systemd 257 and 262, `src/shared/tpm2-util.c`, `find_signature`,
//! `tpm2_policy_authorize`). `systemd-measure sign` writes the same for PCR 11 only.

use crate::build::SigningKey;
use crate::measure::{Bank, Digests, SYSEXTS};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ddi::bytes::hex;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::Id;
use openssl::sha::sha256;
use openssl::sign::Signer;
use serde_json::{Map, Value, json};
use thiserror::Error;

/// `TPM_CC_PolicyPCR` (TPM 2.0 Library, part 2).
const POLICY_PCR: u32 = 0x0000_017f;
/// Size of a key that every TPM 2.0 of a PC has, in bits.
const COMMON_BITS: u32 = 2048;

/// Error of signing values.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// systemd has the TPM verify signatures of RSA keys only (`tpm2_policy_authorize`).
    #[error("not an RSA key: systemd verifies signatures of PCR policies with RSA keys only")]
    NotRsa,
    /// A file to which signatures are added has another form.
    #[error("not a list of signatures for each bank")]
    Syntax,
    /// OpenSSL failed.
    #[error("signing")]
    OpenSsl(#[from] ErrorStack),
}

/// Signatures for the banks of a TPM.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Signatures(Map<String, Value>);

impl Signatures {
    /// Parses a file with signatures, of any PCRs and keys.
    ///
    /// # Errors
    /// [`SignatureError::Syntax`]
    pub fn parse(content: &[u8]) -> Result<Self, SignatureError> {
        let banks: Map<String, Value> = serde_json::from_slice(content).map_err(|_| SignatureError::Syntax)?;
        let is_list = |bank: &Value| bank.as_array().is_some_and(|list| list.iter().all(Value::is_object));
        if banks.values().all(is_list) { Ok(Self(banks)) } else { Err(SignatureError::Syntax) }
    }

    /// Signs the policies about a value of PCR 13, one for each bank.
    ///
    /// # Errors
    /// [`SignatureError::NotRsa`]; [`SignatureError::OpenSsl`]
    pub fn add(&mut self, key: &SigningKey, value: &Digests) -> Result<(), SignatureError> {
        let fingerprint = fingerprint(key)?;
        for bank in Bank::ALL {
            let policy = policy_digest(bank, SYSEXTS, value.of(bank));
            let mut signer = Signer::new(MessageDigest::sha256(), key.signer().key)?;
            let signature = STANDARD.encode(signer.sign_oneshot_to_vec(&policy)?);
            let row = json!({ "pcrs": [SYSEXTS], "pkfp": fingerprint, "pol": hex(&policy), "sig": signature });
            let rows = self.0.entry(bank.to_string()).or_insert_with(|| json!([]));
            let Value::Array(rows) = rows else { return Err(SignatureError::Syntax) };
            if !rows.contains(&row) {
                rows.push(row);
            }
        }
        Ok(())
    }

    /// Returns the content of the file.
    #[must_use]
    pub fn to_json(&self) -> String {
        format!("{}\n", Value::Object(self.0.clone()))
    }
}

/// Returns the fingerprint by which systemd finds signatures of a key: SHA-256 of the public key in the form of PKCS#1.
fn fingerprint(key: &SigningKey) -> Result<String, SignatureError> {
    let public = key.certificate().public_key()?;
    if public.id() != Id::RSA {
        return Err(SignatureError::NotRsa);
    }
    Ok(hex(&sha256(&public.rsa()?.public_key_to_der_pkcs1()?)))
}

/// Returns the size of an RSA key in bits if there are TPMs that can't verify its signatures.
///
/// # Errors
/// [`SignatureError`]
pub fn uncommon_size(key: &SigningKey) -> Result<Option<u32>, SignatureError> {
    let bits = key.certificate().public_key()?.bits();
    Ok(Some(bits).filter(|bits| *bits > COMMON_BITS))
}

/// Returns the digest of the policy that `pcr` has `value` in `bank`, for a policy session with SHA-256 (TPM 2.0 Library, part 3,
/// `TPM2_PolicyPCR`: H(old policy ‖ command code ‖ selection ‖ H(values)); selections are marshalled as in part 2,
/// `TPML_PCR_SELECTION`).
#[must_use]
pub fn policy_digest(bank: Bank, pcr: u32, value: &[u8]) -> [u8; 32] {
    let algorithm: u16 = match bank {
        Bank::Sha256 => 0x000b,
        Bank::Sha384 => 0x000c,
    };
    // A bit for each of 24 PCRs, the lowest first.
    let bits = 1_u32.checked_shl(pcr).unwrap_or(0).to_le_bytes();
    let mut message = vec![0; 32];
    message.extend_from_slice(&POLICY_PCR.to_be_bytes());
    message.extend_from_slice(&1_u32.to_be_bytes());
    message.extend_from_slice(&algorithm.to_be_bytes());
    message.push(3);
    message.extend(bits.iter().take(3));
    message.extend_from_slice(&sha256(value));
    sha256(&message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// `tpm2_createpolicy --policy-pcr -l sha256:13` of tpm2-tools 5.7 says the same about a TPM at power-on (`tests/real_tools/policies.rs`
    /// compares other values).
    #[test]
    fn the_policy_of_a_boot_without_extensions_is_known() {
        let digest = policy_digest(Bank::Sha256, 13, &[0; 32]);
        assert_eq!(hex(&digest), "ea07badf162f2c454bdf5aa5e4976b6f7189f2023edfa316fdf58c15d26ec814");
        assert_eq!(
            hex(&policy_digest(Bank::Sha384, 13, &[0; 48])),
            "f99c7155ca8b987a1748e13495a5be9bfd5f18468559ec9b34ceb8cfa150541b"
        );
    }

    #[test]
    fn other_files_are_refused() {
        for content in ["", "[]", "{\"sha256\":{}}", "{\"sha256\":[1]}", "{\"sha256\":[{}],\"sha384\":1}"] {
            assert!(matches!(Signatures::parse(content.as_bytes()), Err(SignatureError::Syntax)), "{content}");
        }
        let others = "{\"sha1\":[],\"sha256\":[{\"pcrs\":[11]}]}";
        assert_eq!(Signatures::parse(others.as_bytes()).unwrap().to_json(), format!("{others}\n"));
    }
}
