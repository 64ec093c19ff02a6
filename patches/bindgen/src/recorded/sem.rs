pub const GETVAL: i32 = 12;
pub const SETVAL: i32 = 16;
pub const SEM_INFO: i32 = 19;
#[repr(C)]
pub struct semid_ds {
    _opaque: [u8; 0],
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct seminfo {
    pub semmap: ::std::os::raw::c_int,
    pub semmni: ::std::os::raw::c_int,
    pub semmns: ::std::os::raw::c_int,
    pub semmnu: ::std::os::raw::c_int,
    pub semmsl: ::std::os::raw::c_int,
    pub semopm: ::std::os::raw::c_int,
    pub semume: ::std::os::raw::c_int,
    pub semusz: ::std::os::raw::c_int,
    pub semvmx: ::std::os::raw::c_int,
    pub semaem: ::std::os::raw::c_int,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of seminfo"][::std::mem::size_of::<seminfo>() - 40usize];
    ["Alignment of seminfo"][::std::mem::align_of::<seminfo>() - 4usize];
    ["Offset of field: seminfo::semmap"][::std::mem::offset_of!(seminfo, semmap) - 0usize];
    ["Offset of field: seminfo::semmni"][::std::mem::offset_of!(seminfo, semmni) - 4usize];
    ["Offset of field: seminfo::semmns"][::std::mem::offset_of!(seminfo, semmns) - 8usize];
    ["Offset of field: seminfo::semmnu"][::std::mem::offset_of!(seminfo, semmnu) - 12usize];
    ["Offset of field: seminfo::semmsl"][::std::mem::offset_of!(seminfo, semmsl) - 16usize];
    ["Offset of field: seminfo::semopm"][::std::mem::offset_of!(seminfo, semopm) - 20usize];
    ["Offset of field: seminfo::semume"][::std::mem::offset_of!(seminfo, semume) - 24usize];
    ["Offset of field: seminfo::semusz"][::std::mem::offset_of!(seminfo, semusz) - 28usize];
    ["Offset of field: seminfo::semvmx"][::std::mem::offset_of!(seminfo, semvmx) - 32usize];
    ["Offset of field: seminfo::semaem"][::std::mem::offset_of!(seminfo, semaem) - 36usize];
};
#[repr(C)]
#[derive(Copy, Clone)]
pub union semun {
    pub val: ::std::os::raw::c_int,
    pub buf: *mut semid_ds,
    pub array: *mut ::std::os::raw::c_ushort,
    pub __buf: *mut seminfo,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of semun"][::std::mem::size_of::<semun>() - 8usize];
    ["Alignment of semun"][::std::mem::align_of::<semun>() - 8usize];
    ["Offset of field: semun::val"][::std::mem::offset_of!(semun, val) - 0usize];
    ["Offset of field: semun::buf"][::std::mem::offset_of!(semun, buf) - 0usize];
    ["Offset of field: semun::array"][::std::mem::offset_of!(semun, array) - 0usize];
    ["Offset of field: semun::__buf"][::std::mem::offset_of!(semun, __buf) - 0usize];
};
impl Default for semun {
    fn default() -> Self {
        let mut s = ::std::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::std::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
