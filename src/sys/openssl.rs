//! What the crate `openssl` has no interface to: initialization, and certificates without their keys.

use foreign_types::ForeignType;
use openssl::error::ErrorStack;
use openssl::x509::X509;
use openssl_sys::OSSL_LIB_CTX;
use std::ffi::{c_char, c_int, c_long, c_void};
use std::sync::OnceLock;

/// `OPENSSL_INIT_NO_ADD_ALL_CIPHERS` (`openssl/crypto.h`)
const NO_ADD_ALL_CIPHERS: u64 = 0x10;
/// `OPENSSL_INIT_NO_LOAD_CONFIG` (`openssl/crypto.h`)
const NO_LOAD_CONFIG: u64 = 0x80;

/// Initializes OpenSSL without what the agent does not use: the table of ciphers by name, and the system's configuration
/// file, which can load further code. That is a third of the instructions up to the first certificate. The table of
/// digests stays: verifying the signature of a certificate needs it.
///
/// Has an effect only before the first use of OpenSSL in a process.
pub(crate) fn initialize() {
    let options = NO_ADD_ALL_CIPHERS | NO_LOAD_CONFIG | openssl_sys::OPENSSL_INIT_NO_ATEXIT;
    // SAFETY: OPENSSL_init_ssl(3) takes any options, and no settings. A failure shows at the first use of OpenSSL.
    unsafe { openssl_sys::OPENSSL_init_ssl(options, std::ptr::null()) };
}

unsafe extern "C" {
    /// [X509_new_ex(3)](https://docs.openssl.org/3.0/man3/X509_new/), which openssl-sys lacks. Since OpenSSL 3.0.
    fn X509_new_ex(context: *mut OSSL_LIB_CTX, properties: *const c_char) -> *mut openssl_sys::X509;
}

/// A library context without any algorithm, for which no decoder of public keys is found.
struct Bare(*mut OSSL_LIB_CTX);

// SAFETY: a library context may be used by several threads (`OSSL_LIB_CTX(3)`); it is made once and never freed.
unsafe impl Send for Bare {}
// SAFETY: as above.
unsafe impl Sync for Bare {}

impl Bare {
    /// Returns the context of this process. Where it can't be made, it is the default one, which has all algorithms.
    fn get() -> *mut OSSL_LIB_CTX {
        static BARE: OnceLock<Bare> = OnceLock::new();
        let make = || {
            openssl_sys::init();
            // SAFETY: there are no arguments. The result is a context that is ours, or null.
            let context = unsafe { openssl_sys::OSSL_LIB_CTX_new() };
            // A context without a provider would load the default one when it is first asked.
            // SAFETY: the context is not null, and nothing else uses it yet.
            if !context.is_null() && unsafe { openssl_sys::OSSL_PROVIDER_load(context, c"null".as_ptr()) }.is_null() {
                // SAFETY: nothing refers to it.
                unsafe { openssl_sys::OSSL_LIB_CTX_free(context) };
                return Bare(std::ptr::null_mut());
            }
            Bare(context)
        };
        BARE.get_or_init(make).0
    }

    /// Calls `read` with the place of an empty certificate, and takes over what it leaves there.
    fn read(read: impl FnOnce(*mut *mut openssl_sys::X509) -> *mut openssl_sys::X509) -> Result<X509, ErrorStack> {
        // SAFETY: the context lives forever or is null, and there are no properties. The result is ours, or null.
        let mut place = unsafe { X509_new_ex(Self::get(), std::ptr::null()) };
        if place.is_null() {
            return Err(ErrorStack::get());
        }
        if read(&raw mut place).is_null() {
            // Where an encoding is bad, OpenSSL frees the certificate and leaves null; where none is found, it stays.
            if !place.is_null() {
                // SAFETY: it is the certificate made above, which nothing else refers to.
                unsafe { openssl_sys::X509_free(place) };
            }
            return Err(ErrorStack::get());
        }
        // SAFETY: what was read is in place of what was made above, and is ours.
        Ok(unsafe { X509::from_ptr(place) })
    }
}

/// Parses a DER certificate as `X509::from_der` does, except that its public key isn't decoded: `public_key` fails.
///
/// Decoding a key takes OpenSSL 3.0 a million instructions, most of them for looking up decoders, and few keys of a machine
/// have signed an image. OpenSSL accepts a certificate also if it cannot decode the key (3.0, `x509_pubkey_ex_d2i_ex`). It
/// refuses one only if a decoder leaves bytes of the key over; that is an error of `X509::from_der` later.
///
/// # Errors
/// Those of OpenSSL.
pub(crate) fn certificate_from_der(der: &[u8]) -> Result<X509, ErrorStack> {
    let Ok(len) = c_long::try_from(der.len()) else { return Err(ErrorStack::get()) };
    Bare::read(|place| {
        let mut start = der.as_ptr();
        // SAFETY: `start` points at `len` bytes, and `place` at a certificate.
        unsafe { openssl_sys::d2i_X509(place, &raw mut start, len) }
    })
}

/// Parses the first PEM certificate of a text as `X509::from_pem` does, without its public key:
/// [`certificate_from_der`].
///
/// # Errors
/// Those of OpenSSL.
pub(crate) fn certificate_from_pem(text: &[u8]) -> Result<X509, ErrorStack> {
    let Ok(len) = c_int::try_from(text.len()) else { return Err(ErrorStack::get()) };
    // SAFETY: the text outlives the BIO, which is freed below.
    let bio = unsafe { openssl_sys::BIO_new_mem_buf(text.as_ptr().cast(), len) };
    if bio.is_null() {
        return Err(ErrorStack::get());
    }
    // SAFETY: the BIO is valid, and `place` points at a certificate. Only an encrypted text calls `no_passphrase`, which
    // refuses.
    let read = Bare::read(|place| unsafe {
        openssl_sys::PEM_read_bio_X509(bio, place, Some(no_passphrase), std::ptr::null_mut())
    });
    // SAFETY: it was made above and isn't used again.
    unsafe { openssl_sys::BIO_free_all(bio) };
    read
}

/// Callback of OpenSSL's PEM readers, `pem_password_cb(3)`: fails.
unsafe extern "C" fn no_passphrase(_buffer: *mut c_char, _size: c_int, _writes: c_int, _data: *mut c_void) -> c_int {
    -1
}
