//! Revocations in dbx (UEFI specification 2.10, sections 32.4.1 and 32.6.3).
#![deny(
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

use super::certificate::KeyId;
use super::deferred::Deferred;
use super::{Certificate, Fingerprint, Ignored};
use crate::firmware::signature_list::{Entry, SignatureDatabase, TbsDigest};
use ddi::text::{Message, Text};
use openssl::x509::X509VerifyResult;
use std::cmp::Ordering;
use std::collections::HashSet;
use x509_parser::asn1_rs::{Any, FromBer};
use x509_parser::prelude::{FromDer, X509Certificate};

/// dbx contains the certificate.
pub(super) const ITSELF: &str = "the certificate itself";
/// dbx contains another certificate of the same key.
const SAME_KEY: &str = "a certificate with the same public key";
/// dbx revokes the issuer of the certificate.
const ISSUER: &str = "the certificate that issued it";

/// The revocations of certificates in dbx.
///
/// They cover more than the firmware finds by comparing bytes: a certificate that was encoded or issued again for a
/// revoked key is the same signer.
#[derive(Debug, Default)]
pub(super) struct Revocations {
    /// The certificates in dbx, as far as they can be shown.
    pub(super) certificates: Vec<Certificate>,
    /// The entries that cannot be parsed. Each may be a revocation.
    pub(super) faults: Vec<Ignored>,
    parts: HashSet<Vec<u8>>,
    keys: HashSet<KeyId>,
    digests: HashSet<(TbsDigest, Vec<u8>)>,
    issuers: Vec<Deferred>,
}

impl Revocations {
    /// Parses the entries of dbx.
    pub(super) fn read(dbx: &SignatureDatabase) -> Self {
        let mut this = Self::default();
        let fault = |sha256, reason| Ignored { origin: "dbx".into(), sha256, reason: Message::new(reason) };
        this.faults.extend(dbx.errors.iter().map(|error| fault(None, error.to_string())));
        for entry in &dbx.entries {
            match entry {
                Entry::Certificate(data) => {
                    if !this.add(data) {
                        let cause =
                            Certificate::from_der(data).err().map(|error| error.to_string()).unwrap_or_default();
                        let reason = format!("an X.509 entry of {} bytes can't be read: {cause}", data.len());
                        this.faults.push(fault(Some(Fingerprint::of(data)), reason));
                    }
                }
                Entry::CertificateDigest { digest, value } => {
                    this.digests.insert((*digest, value.clone()));
                }
                Entry::Other { .. } => {}
            }
        }
        this
    }

    /// Adds the certificate at the start of `data`, as firmware reads it: later bytes are padding, and the encoding may
    /// be one that is refused for a trust anchor (edk2 `131641e`, `CryptPkcs7VerifyCommon.c`, `Pkcs7Verify`, which
    /// calls OpenSSL's `d2i_X509`). Returns whether it could be parsed.
    fn add(&mut self, data: &[u8]) -> bool {
        let encoding = Deferred::from_der(data).ok();
        let again = encoding.as_ref().and_then(|encoding| encoding.outline().to_der().ok());
        // What both parsers read in the same way is taken once.
        let is_usual = again.as_deref() == Some(data);
        let other = again.as_deref().filter(|_| !is_usual);
        let mut is_read = false;
        for encoding in [Some(data), other].into_iter().flatten() {
            if let Some(part) = signed_part(encoding) {
                self.parts.insert(part.to_vec());
            }
            if let Ok((_, parsed)) = X509Certificate::from_der(encoding) {
                self.keys.insert(KeyId::of(parsed.public_key().raw));
                is_read = true;
            }
        }
        if !(is_usual && is_read)
            && let Some(key) =
                encoding.as_ref().and_then(|it| it.complete().ok()?.public_key().ok()?.public_key_to_der().ok())
        {
            self.keys.insert(KeyId::of(&key));
        }
        let shown = again.as_deref().unwrap_or(data);
        let certificate = match &encoding {
            Some(encoding) if is_usual => Certificate::of(encoding),
            _ => Certificate::from_der(shown),
        };
        if let Ok(certificate) = certificate
            && !self.certificates.contains(&certificate)
        {
            self.certificates.push(certificate);
        }
        self.issuers.extend(encoding);
        is_read || again.is_some()
    }

    /// Returns for each of `certificates` how dbx revokes it, `None` if it does not.
    ///
    /// Firmware builds a chain from the signer to a certificate in dbx (edk2 `131641e`, `Pkcs7Verify`, which sets
    /// `X509_V_FLAG_PARTIAL_CHAIN`). So certificates issued by a revoked certificate are revoked, too, if the issuer is
    /// known: from dbx or from `certificates`.
    pub(super) fn judge(&self, certificates: &[Option<&Certificate>]) -> Vec<Option<Text>> {
        let named = |certificate: Option<&Certificate>| certificate.and_then(|certificate| self.name(certificate));
        let mut judged: Vec<_> = certificates.iter().copied().map(named).collect();
        let revoked = judged.iter().zip(certificates).filter(|(by, _)| by.is_some());
        let mut issuers: Vec<&Deferred> = self.issuers.iter().collect();
        issuers.extend(revoked.filter_map(|(_, certificate)| certificate.map(Certificate::encoding)));
        while !issuers.is_empty() {
            let mut further = Vec::new();
            for (by, certificate) in judged.iter_mut().zip(certificates) {
                let (None, Some(certificate)) = (&by, certificate) else { continue };
                if issuers.iter().any(|issuer| has_issued(issuer, certificate.encoding())) {
                    *by = Some(ISSUER.into());
                    further.push(certificate.encoding());
                }
            }
            issuers = further;
        }
        judged
    }

    /// Returns how dbx itself identifies `certificate`, `None` if it does not. The time of a revocation is ignored.
    fn name(&self, certificate: &Certificate) -> Option<Text> {
        if self.parts.contains(certificate.tbs()) {
            return Some(ITSELF.into());
        }
        // Without any digest in dbx none is computed.
        let mut digests = TbsDigest::ALL.into_iter().filter(|_| !self.digests.is_empty());
        let by_digest = digests.find(|digest| {
            let value = certificate.tbs_digest(*digest);
            value.is_some_and(|value| self.digests.contains(&(*digest, value)))
        });
        if let Some(digest) = by_digest {
            return Some(Text::new(format_args!("{digest} of its TBSCertificate")));
        }
        self.keys.contains(certificate.key()).then(|| SAME_KEY.into())
    }
}

/// Returns the `TBSCertificate` of a certificate in any encoding: the first element of the first element.
fn signed_part(encoding: &[u8]) -> Option<&[u8]> {
    let (_, outer) = Any::from_ber(encoding).ok()?;
    let (rest, _) = Any::from_ber(outer.data).ok()?;
    outer.data.get(..outer.data.len().checked_sub(rest.len())?)
}

/// Returns whether `issuer` signed `certificate`.
fn has_issued(issuer: &Deferred, certificate: &Deferred) -> bool {
    // `X509_check_issued` compares these names first (OpenSSL 3.0, `ossl_x509_likely_issued`). If they differ, no key is
    // decoded.
    let names = issuer.outline().subject_name().try_cmp(certificate.outline().issuer_name());
    if !names.is_ok_and(Ordering::is_eq) {
        return false;
    }
    // A certificate that may be revoked, and whose signature nothing can check, is.
    let (Ok(issuer), Ok(certificate)) = (issuer.complete(), certificate.complete()) else { return true };
    issuer.issued(certificate) == X509VerifyResult::OK
        && issuer.public_key().is_ok_and(|key| certificate.verify(&key).unwrap_or(false))
}
