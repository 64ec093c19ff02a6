//! Keys and certificates that an OpenSSL provider holds, such as those in a PKCS#11 token.
//!
//! A thin wrapper around `OSSL_STORE` (`ossl_store(7)`), for which the `openssl` crate has no interface. Its private keys are
//! handles: the provider signs, and the key of a token never leaves the token.
//!
//! This is the only unsafe code of the tool. Each pointer is owned by a type that frees it, or is used within one function.
#![allow(unsafe_code)]

use foreign_types::ForeignType;
use openssl::error::ErrorStack;
use openssl::lib_ctx::LibCtx;
use openssl::pkey::{PKey, Private};
use openssl::provider::Provider;
use openssl::x509::X509;
use std::ffi::{CString, c_char, c_int, c_void};
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};
use thiserror::Error;

/// Maximum number of objects that one URI may name.
const MAX_OBJECTS: usize = 64;

/// Maximum number of objects that are read, those included that are skipped: of other kinds, or unreadable.
const MAX_STEPS: usize = 256;

/// Functions of OpenSSL 3.0, declared as in `openssl/store.h`, `openssl/ui.h`, `openssl/crypto.h` and `openssl/conf.h`.
mod sys {
    use super::{c_char, c_int, c_void};
    use openssl_sys::{EVP_PKEY, OSSL_LIB_CTX, X509};

    /// `OSSL_STORE_INFO_PKEY`: a private key.
    pub(super) const INFO_PKEY: c_int = 4;
    /// `OSSL_STORE_INFO_CERT`: a certificate.
    pub(super) const INFO_CERT: c_int = 5;

    pub(super) enum Store {}
    pub(super) enum Info {}
    pub(super) enum UiMethod {}

    pub(super) type PasswordCallback = unsafe extern "C" fn(*mut c_char, c_int, c_int, *mut c_void) -> c_int;

    unsafe extern "C" {
        pub(super) fn OSSL_LIB_CTX_load_config(context: *mut OSSL_LIB_CTX, file: *const c_char) -> c_int;
        pub(super) fn CONF_get1_default_config_file() -> *mut c_char;
        pub(super) fn OSSL_STORE_open_ex(
            uri: *const c_char,
            context: *mut OSSL_LIB_CTX,
            properties: *const c_char,
            ui_method: *const UiMethod,
            ui_data: *mut c_void,
            parameters: *const c_void,
            post_process: *const c_void,
            post_process_data: *mut c_void,
        ) -> *mut Store;
        pub(super) fn OSSL_STORE_expect(store: *mut Store, kind: c_int) -> c_int;
        pub(super) fn OSSL_STORE_load(store: *mut Store) -> *mut Info;
        pub(super) fn OSSL_STORE_eof(store: *mut Store) -> c_int;
        pub(super) fn OSSL_STORE_close(store: *mut Store) -> c_int;
        pub(super) fn OSSL_STORE_INFO_get_type(info: *const Info) -> c_int;
        pub(super) fn OSSL_STORE_INFO_get1_PKEY(info: *const Info) -> *mut EVP_PKEY;
        pub(super) fn OSSL_STORE_INFO_get1_CERT(info: *const Info) -> *mut X509;
        pub(super) fn OSSL_STORE_INFO_free(info: *mut Info);
        pub(super) fn UI_UTIL_wrap_read_pem_callback(callback: PasswordCallback, flag: c_int) -> *mut UiMethod;
        pub(super) fn UI_destroy_method(method: *mut UiMethod);
    }
}

/// Error of loading a key or certificate from a provider.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The provider can't be loaded.
    #[error("loading OpenSSL provider {name}: {words}{advice}")]
    Provider {
        /// Name of the provider
        name: String,
        /// Reason that OpenSSL gives
        words: String,
        /// What to install; may be empty
        advice: &'static str,
    },
    /// The name of a provider or a URI contains a NUL.
    #[error("name contains a NUL byte")]
    Nul,
    /// The PIN or passphrase can't be read.
    #[error("{0}")]
    Secret(io::Error),
    /// OpenSSL can't open the object that the URI names.
    #[error("OpenSSL: {0}")]
    OpenSsl(String),
    /// The URI names no object of the wanted kind.
    #[error("URI names no {0}")]
    Nothing(Wanted),
}

/// Kind of object to load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Private keys.
    Key,
    /// Certificates.
    Certificate,
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key => "private key",
            Self::Certificate => "certificate",
        })
    }
}

/// A loaded provider. Its keys must be dropped before it.
///
/// It has a library context of its own, which is freed with it. A provider that is unloaded only at the end of the process calls
/// its PKCS#11 module after that has been unloaded, and crashes (`SoftHSM` 2.6 with pkcs11-provider 1.0).
pub struct KeyProvider {
    // Dropped in this order.
    _provider: Provider,
    _default: Provider,
    context: LibCtx,
    name: String,
}

impl fmt::Debug for KeyProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyProvider").field(&self.name).finish()
    }
}

/// Callback for a PIN or passphrase: writes it into the buffer and returns its length in bytes.
pub type Ask<'a> = dyn FnMut(&mut [u8]) -> io::Result<usize> + 'a;

impl KeyProvider {
    /// Loads the provider `name`, as `openssl -provider NAME` does, beside the default one.
    ///
    /// # Errors
    /// [`StoreError::Provider`]
    pub fn load(name: &str) -> Result<Self, StoreError> {
        if name.contains('\0') {
            return Err(StoreError::Nul);
        }
        let context = LibCtx::new().map_err(|error| StoreError::OpenSsl(words(&error)))?;
        load_configuration(&context);
        let load = |name: &str, advice| {
            Provider::load(Some(&context), name).map_err(|error| {
                let (name, words) = (name.to_owned(), words(&error));
                StoreError::Provider { name, words, advice }
            })
        };
        let advice = if name == "pkcs11" { "; Debian 13 has it in the package pkcs11-provider" } else { "" };
        // Loads files, and does every operation without a private key.
        let default = load("default", "")?;
        let provider = load(name, advice)?;
        Ok(Self { _provider: provider, _default: default, context, name: name.to_owned() })
    }

    /// Returns the private keys that `uri` names, 64 at most. `ask` is called when the provider needs a PIN or passphrase.
    ///
    /// # Errors
    /// [`StoreError`], also if there is no key.
    pub fn keys(&self, uri: &str, ask: &mut Ask<'_>) -> Result<Vec<PKey<Private>>, StoreError> {
        read(&self.context, uri, Wanted::Key, ask, |info| {
            // SAFETY: `info` is valid, and the function returns a reference of its own, or null.
            let key = NonNull::new(unsafe { sys::OSSL_STORE_INFO_get1_PKEY(info) })?;
            // SAFETY: the reference is ours. What the store calls a private key can sign.
            Some(unsafe { PKey::from_ptr(key.as_ptr()) })
        })
    }

    /// Returns the certificates that `uri` names, 64 at most.
    ///
    /// # Errors
    /// [`StoreError`], also if there is no certificate.
    pub fn certificates(&self, uri: &str, ask: &mut Ask<'_>) -> Result<Vec<X509>, StoreError> {
        read(&self.context, uri, Wanted::Certificate, ask, |info| {
            // SAFETY: as above.
            let certificate = NonNull::new(unsafe { sys::OSSL_STORE_INFO_get1_CERT(info) })?;
            // SAFETY: the reference is ours.
            Some(unsafe { X509::from_ptr(certificate.as_ptr()) })
        })
    }
}

/// Loads OpenSSL's configuration, which may set up the provider (`pkcs11-module-path`). Errors are ignored: a provider that lacks
/// its settings reports that itself.
fn load_configuration(context: &LibCtx) {
    // SAFETY: returns memory of OpenSSL's, or null.
    let Some(path) = NonNull::new(unsafe { sys::CONF_get1_default_config_file() }) else { return };
    // SAFETY: the context is valid, and the path ends with NUL.
    unsafe { sys::OSSL_LIB_CTX_load_config(context.as_ptr(), path.as_ptr()) };
    // SAFETY: OpenSSL allocated it, and nothing else has it. The last two arguments name a line of source and may be empty.
    unsafe { openssl_sys::CRYPTO_free(path.as_ptr().cast(), ptr::null(), 0) };
    drop(ErrorStack::get());
}

/// Data of the callback [`answer`].
struct Asking<'a, 'b> {
    ask: &'a mut Ask<'b>,
    error: Option<io::Error>,
}

/// An open store.
struct Store(NonNull<sys::Store>);

impl Drop for Store {
    fn drop(&mut self) {
        // SAFETY: it is open, and nothing uses it any more.
        unsafe { sys::OSSL_STORE_close(self.0.as_ptr()) };
    }
}

/// OpenSSL's interface to the callback for passphrases.
struct Method(NonNull<sys::UiMethod>);

impl Drop for Method {
    fn drop(&mut self) {
        // SAFETY: it is ours, and the store that used it is closed.
        unsafe { sys::UI_destroy_method(self.0.as_ptr()) };
    }
}

/// An object of a store.
struct Info(NonNull<sys::Info>);

impl Drop for Info {
    fn drop(&mut self) {
        // SAFETY: it is ours; what was taken out of it has a reference of its own.
        unsafe { sys::OSSL_STORE_INFO_free(self.0.as_ptr()) };
    }
}

/// Reads all objects of one kind from a store.
fn read<T>(
    context: &LibCtx,
    uri: &str,
    wanted: Wanted,
    ask: &mut Ask<'_>,
    mut take: impl FnMut(*const sys::Info) -> Option<T>,
) -> Result<Vec<T>, StoreError> {
    openssl_sys::init();
    let uri = CString::new(uri).map_err(|_| StoreError::Nul)?;
    let mut asking = Asking { ask, error: None };
    let data: *mut c_void = (&raw mut asking).cast();
    // Errors of earlier calls would be reported as the reason of this one.
    drop(ErrorStack::get());
    // SAFETY: the callback has the type that is asked for; it is called with the data that the store is opened with.
    let method = NonNull::new(unsafe { sys::UI_UTIL_wrap_read_pem_callback(answer, 0) }).map(Method);
    let method = method.ok_or_else(|| StoreError::OpenSsl(words(&ErrorStack::get())))?;
    // SAFETY: the URI ends with NUL; context, method and data outlive the store, which is closed before they go (a value that is
    // made later is dropped first). There are no properties and parameters.
    let store = unsafe {
        sys::OSSL_STORE_open_ex(
            uri.as_ptr(),
            context.as_ptr(),
            ptr::null(),
            method.0.as_ptr(),
            data,
            ptr::null(),
            ptr::null(),
            ptr::null_mut(),
        )
    };
    let mut found = Vec::new();
    if let Some(store) = NonNull::new(store).map(Store) {
        let kind = match wanted {
            Wanted::Key => sys::INFO_PKEY,
            Wanted::Certificate => sys::INFO_CERT,
        };
        // SAFETY: the store is open. A provider may ignore this hint and return other kinds too.
        unsafe { sys::OSSL_STORE_expect(store.0.as_ptr(), kind) };
        for _ in 0..MAX_STEPS {
            // SAFETY: the store is open.
            if found.len() >= MAX_OBJECTS || unsafe { sys::OSSL_STORE_eof(store.0.as_ptr()) } != 0 {
                break;
            }
            // SAFETY: the store is open. An object that can't be read is null, and the next one follows.
            let Some(info) = NonNull::new(unsafe { sys::OSSL_STORE_load(store.0.as_ptr()) }).map(Info) else {
                continue;
            };
            // SAFETY: the object is valid.
            if unsafe { sys::OSSL_STORE_INFO_get_type(info.0.as_ptr()) } == kind {
                found.extend(take(info.0.as_ptr()));
            }
        }
    }
    let cause = ErrorStack::get();
    match asking.error.take() {
        _ if !found.is_empty() => Ok(found),
        Some(error) => Err(StoreError::Secret(error)),
        None if cause.errors().is_empty() => Err(StoreError::Nothing(wanted)),
        None => Err(StoreError::OpenSsl(words(&cause))),
    }
}

/// Asks for a passphrase (`pem_password_cb`). Returns its length, or -1.
///
/// # Safety
/// `buffer` has `size` bytes, and `data` is an [`Asking`] that nothing else uses meanwhile.
unsafe extern "C" fn answer(buffer: *mut c_char, size: c_int, _flag: c_int, data: *mut c_void) -> c_int {
    let Ok(len) = usize::try_from(size) else { return -1 };
    if buffer.is_null() || data.is_null() {
        return -1;
    }
    // SAFETY: promised by the caller, which is OpenSSL with the data of `read`.
    let (buffer, asking) =
        unsafe { (std::slice::from_raw_parts_mut(buffer.cast::<u8>(), len), &mut *data.cast::<Asking<'_, '_>>()) };
    // A panic must not unwind into C.
    let result = catch_unwind(AssertUnwindSafe(|| (asking.ask)(buffer)));
    match result {
        Ok(Ok(count)) => c_int::try_from(count).unwrap_or(-1),
        Ok(Err(error)) => {
            // The first error explains most if OpenSSL asks again.
            asking.error.get_or_insert(error);
            -1
        }
        Err(_) => -1,
    }
}

/// Returns all reasons of an OpenSSL error, without its numbers. The first is that of the innermost library, the last that of the
/// provider or store.
fn words(error: &ErrorStack) -> String {
    let mut said: Vec<String> = Vec::new();
    for error in error.errors() {
        let reason = error.reason().unwrap_or("unknown error");
        let text = match error.data() {
            Some(data) => format!("{reason} ({data})"),
            None => reason.to_owned(),
        };
        if !said.contains(&text) {
            said.push(text);
        }
    }
    if said.is_empty() { "no reason is given".to_owned() } else { said.join("; ") }
}
