pub const LOOP_SET_FD: u32 = 19456;
pub const LOOP_CLR_FD: u32 = 19457;
pub const LOOP_SET_STATUS64: u32 = 19460;
pub const LOOP_SET_CAPACITY: u32 = 19463;
pub const LOOP_SET_DIRECT_IO: u32 = 19464;
pub const LOOP_CTL_ADD: u32 = 19584;
pub const LOOP_CTL_GET_FREE: u32 = 19586;
pub const LO_FLAGS_READ_ONLY: _bindgen_ty_1 = 1;
pub const LO_FLAGS_AUTOCLEAR: _bindgen_ty_1 = 4;
pub const LO_FLAGS_PARTSCAN: _bindgen_ty_1 = 8;
pub type _bindgen_ty_1 = ::std::os::raw::c_uint;
pub type __u8 = ::std::os::raw::c_uchar;
pub type __u32 = ::std::os::raw::c_uint;
pub type __u64 = ::std::os::raw::c_ulonglong;
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct loop_info64 {
    pub lo_device: __u64,
    pub lo_inode: __u64,
    pub lo_rdevice: __u64,
    pub lo_offset: __u64,
    pub lo_sizelimit: __u64,
    pub lo_number: __u32,
    pub lo_encrypt_type: __u32,
    pub lo_encrypt_key_size: __u32,
    pub lo_flags: __u32,
    pub lo_file_name: [__u8; 64usize],
    pub lo_crypt_name: [__u8; 64usize],
    pub lo_encrypt_key: [__u8; 32usize],
    pub lo_init: [__u64; 2usize],
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of loop_info64"][::std::mem::size_of::<loop_info64>() - 232usize];
    ["Alignment of loop_info64"][::std::mem::align_of::<loop_info64>() - 8usize];
    ["Offset of field: loop_info64::lo_device"]
        [::std::mem::offset_of!(loop_info64, lo_device) - 0usize];
    ["Offset of field: loop_info64::lo_inode"]
        [::std::mem::offset_of!(loop_info64, lo_inode) - 8usize];
    ["Offset of field: loop_info64::lo_rdevice"]
        [::std::mem::offset_of!(loop_info64, lo_rdevice) - 16usize];
    ["Offset of field: loop_info64::lo_offset"]
        [::std::mem::offset_of!(loop_info64, lo_offset) - 24usize];
    ["Offset of field: loop_info64::lo_sizelimit"]
        [::std::mem::offset_of!(loop_info64, lo_sizelimit) - 32usize];
    ["Offset of field: loop_info64::lo_number"]
        [::std::mem::offset_of!(loop_info64, lo_number) - 40usize];
    ["Offset of field: loop_info64::lo_encrypt_type"]
        [::std::mem::offset_of!(loop_info64, lo_encrypt_type) - 44usize];
    ["Offset of field: loop_info64::lo_encrypt_key_size"]
        [::std::mem::offset_of!(loop_info64, lo_encrypt_key_size) - 48usize];
    ["Offset of field: loop_info64::lo_flags"]
        [::std::mem::offset_of!(loop_info64, lo_flags) - 52usize];
    ["Offset of field: loop_info64::lo_file_name"]
        [::std::mem::offset_of!(loop_info64, lo_file_name) - 56usize];
    ["Offset of field: loop_info64::lo_crypt_name"]
        [::std::mem::offset_of!(loop_info64, lo_crypt_name) - 120usize];
    ["Offset of field: loop_info64::lo_encrypt_key"]
        [::std::mem::offset_of!(loop_info64, lo_encrypt_key) - 184usize];
    ["Offset of field: loop_info64::lo_init"]
        [::std::mem::offset_of!(loop_info64, lo_init) - 216usize];
};
impl Default for loop_info64 {
    fn default() -> Self {
        let mut s = ::std::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::std::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
