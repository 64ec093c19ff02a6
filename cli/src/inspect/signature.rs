//! Reads the claims of a signature partition.

use ddi::gpt::Partition;
use ddi::io::ReadAt;
use ddi::signature_partition::{self, MAX_SIZE};
use ddi::text::{Message, Text};
use serde::Serialize;
use sextant::verify::cms::{self, Algorithm, CertificateNames, Digest};

/// Claims of a signature partition, none of which is verified.
#[derive(Debug, Serialize)]
pub struct Signature {
    /// Signed root hash.
    pub root_hash: String,
    /// Fingerprint of the signer's certificate; may be missing.
    pub certificate_fingerprint: Option<Text>,
    /// Size of the signature in bytes.
    pub size: usize,
    /// Signers.
    pub signers: Vec<SignerName>,
    /// Subjects of the certificates in the signature.
    pub certificates: Vec<Text>,
    /// Why the signature can't be parsed.
    pub problem: Option<Message>,
}

/// Name of a signer in a signature: issuer and serial number of the certificate (RFC 2315, section 6.7).
#[derive(Debug, Serialize)]
pub struct SignerName {
    /// Issuer of the certificate, which is also the subject if it is self-signed.
    pub issuer: Text,
    /// Serial number in hexadecimal.
    pub serial: String,
    /// Signature algorithm.
    pub algorithm: Text,
}

impl Signature {
    pub(super) fn read(image: &dyn ReadAt, partition: &Partition) -> Result<Self, Box<dyn std::error::Error>> {
        if partition.len > MAX_SIZE {
            return Err(format!("{} bytes; the limit is {MAX_SIZE}", partition.len).into());
        }
        let mut bytes = vec![0; usize::try_from(partition.len)?];
        image.read_exact_at(&mut bytes, partition.start)?;
        let claim = signature_partition::parse(&bytes)?;
        let mut found = Self {
            root_hash: claim.root_hash.to_string(),
            certificate_fingerprint: claim.certificate_fingerprint.as_ref().map(Text::new),
            size: claim.signature.len(),
            signers: Vec::new(),
            certificates: Vec::new(),
            problem: None,
        };
        match cms::parse(&claim.signature) {
            Ok(data) => {
                found.signers = data.signers.iter().map(SignerName::of).collect();
                let subject = |der: &[u8]| CertificateNames::read(der).map(|names| names.subject.to_text());
                found.certificates = data.certificates.iter().map(|der| subject(der).unwrap_or("?".into())).collect();
            }
            Err(error) => found.problem = Some(Message::new(error)),
        }
        Ok(found)
    }
}

impl SignerName {
    fn of(info: &cms::SignerInfo) -> Self {
        let digest = match info.digest.digest() {
            Digest::Strong(_) => Text::default(),
            Digest::Other(name) => name,
        };
        let algorithm = match info.algorithm.algorithm() {
            Algorithm::Rsa => "RSA".into(),
            Algorithm::Ecdsa => "ECDSA".into(),
            Algorithm::Other(name) => name,
        };
        Self {
            issuer: info.issuer.to_text(),
            serial: info.serial.to_string(),
            algorithm: Text::new(format!("{algorithm} {digest}").trim_end()),
        }
    }
}
