//! Certificates of the firmware (DER) and of files (PEM).
#![no_main]

use libfuzzer_sys::fuzz_target;
use sextant::trust::{Certificate, Fingerprint};
use sextant_fuzz as _;

fuzz_target!(|data: &[u8]| {
    if let Ok(certificate) = Certificate::from_der(data) {
        assert_eq!(certificate.der(), data);
        assert_eq!(certificate.fingerprint(), Fingerprint::of(data));
        check(&certificate);
        assert!(Certificate::from_der(&[data, &[0]].concat()).is_err(), "a byte too many");
    }
    if let Ok(certificate) = Certificate::from_pem(data) {
        check(&certificate);
    }
});

fn check(certificate: &Certificate) {
    assert!(!certificate.subject().as_str().chars().any(char::is_control));
    assert_eq!(Certificate::from_der(certificate.der()).as_ref(), Ok(certificate));
    // What systemd gets of it is what OpenSSL writes.
    let der = certificate.x509().to_der();
    assert_eq!(der.ok().as_deref(), Some(certificate.der()), "OpenSSL sees another certificate");
}
