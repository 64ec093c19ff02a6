//! Initialization of OpenSSL.

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
