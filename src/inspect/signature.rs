//! Who says to have signed an image.

use crate::bytes::hex;
use crate::image::gpt::Partition;
use crate::image::signature_partition::{self, MAX_SIZE};
use crate::io::ReadAt;
use crate::reason::printable;
use crate::trust::Certificate;
use crate::verify::pkcs7::{self, Algorithm, Digest};
use serde::Serialize;
use x509_parser::prelude::{FromDer, X509Name};

/// Longest name that is shown, in characters.
const MAX_NAME: usize = 256;

/// What a signature partition says. Nothing of it has been verified.
#[derive(Debug, Serialize)]
pub struct Signature {
    /// The root hash that the signature is about.
    pub root_hash: String,
    /// Fingerprint of the signer's certificate, if it is named.
    pub certificate_fingerprint: Option<String>,
    /// Bytes of the signature.
    pub size: usize,
    /// Who signed.
    pub signers: Vec<SignerName>,
    /// Subjects of the certificates that were sent along.
    pub certificates: Vec<String>,
    /// Why the signature can't be taken apart, if it can't.
    pub problem: Option<String>,
}

/// By what a signature names a signer: the certificate's issuer and serial number (RFC 2315, section 6.7).
#[derive(Debug, Serialize)]
pub struct SignerName {
    /// Issuer of the certificate: the subject, for one that is self-signed.
    pub issuer: String,
    /// Serial number in hexadecimal.
    pub serial: String,
    /// Signature algorithm.
    pub algorithm: String,
}

impl Signature {
    pub(super) fn read(image: &dyn ReadAt, partition: &Partition) -> Result<Self, Box<dyn std::error::Error>> {
        if partition.len > MAX_SIZE {
            return Err(format!("it has {} bytes, and {MAX_SIZE} are read at most", partition.len).into());
        }
        let mut bytes = vec![0; usize::try_from(partition.len)?];
        image.read_exact_at(&mut bytes, partition.start)?;
        let claim = signature_partition::parse(&bytes)?;
        let mut found = Self {
            root_hash: claim.root_hash.to_string(),
            certificate_fingerprint: claim.certificate_fingerprint.clone(),
            size: claim.signature.len(),
            signers: Vec::new(),
            certificates: Vec::new(),
            problem: None,
        };
        match pkcs7::parse(&claim.signature) {
            Ok(data) => {
                found.signers = data.signers.iter().map(SignerName::of).collect();
                let subject = |der: &&[u8]| Certificate::from_der(der).ok().map(|it| it.subject().to_owned());
                found.certificates = data.certificates.iter().map(|der| subject(der).unwrap_or("?".into())).collect();
            }
            Err(error) => found.problem = Some(error.to_string()),
        }
        Ok(found)
    }
}

impl SignerName {
    fn of(info: &pkcs7::SignerInfo<'_>) -> Self {
        let issuer = X509Name::from_der(info.issuer).map_or_else(|_| "?".to_owned(), |(_, name)| name.to_string());
        let digest = match &info.digest {
            Digest::Strong => "",
            Digest::Other(name) => name,
        };
        let algorithm = match &info.algorithm {
            Algorithm::Rsa => "RSA",
            Algorithm::Ecdsa => "ECDSA",
            Algorithm::Other(name) => name,
        };
        Self {
            issuer: printable(&issuer).chars().take(MAX_NAME).collect(),
            serial: hex(info.serial.get(..20).unwrap_or(info.serial)),
            algorithm: format!("{algorithm} {digest}").trim_end().to_owned(),
        }
    }
}
