//! A file system for SQLite that passes everything on to the real one, and writes down what a power cut could undo.
//!
//! It becomes the process's default, so that the code under test opens its files as it always does.

#![expect(
    unsafe_code,
    reason = "SQLite's interface to file systems is a table of C functions"
)]

use std::{
    ffi::{CStr, c_char, c_int, c_void},
    mem,
    path::Path,
    ptr, slice,
    sync::{Arc, OnceLock},
};

use rusqlite::ffi;

use crate::recording::{self, Event, FileNumber, Recording};

/// Makes it the file system of every connection that is opened from now on.
pub(crate) fn install() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let real = real_vfs();
        // SAFETY: SQLite's own file systems live as long as the process, and are not changed.
        let mut ours = unsafe { *real };
        ours.zName = c"crash".as_ptr();
        ours.szOsFile += size_of_file();
        ours.xOpen = Some(open);
        ours.xDelete = Some(delete);
        // SAFETY: the table is leaked, so that it lives as long as SQLite may use it.
        let code = unsafe { ffi::sqlite3_vfs_register(Box::leak(Box::new(ours)), 1) };
        assert_eq!(code, ffi::SQLITE_OK, "SQLite takes any file system");
    });
}

/// What SQLite has of ours for an open file; the real file system's part follows in the same piece of memory.
#[repr(C)]
struct File {
    base: ffi::sqlite3_file,
    /// Null where nobody watches the folder.
    watched: *mut Watched,
}

struct Watched {
    recording: Arc<Recording>,
    file: FileNumber,
    /// SQLite syncs the folder of a log or journal once, with the first sync of the file.
    is_folder_sync_due: bool,
}

fn size_of_file() -> c_int {
    c_int::try_from(mem::size_of::<File>()).expect("it is two pointers")
}

/// The system's file system, which was the default before ours.
fn real_vfs() -> *mut ffi::sqlite3_vfs {
    static REAL: OnceLock<usize> = OnceLock::new();
    let address = REAL.get_or_init(|| {
        // SAFETY: a name that ends in zero.
        let found = unsafe { ffi::sqlite3_vfs_find(c"unix".as_ptr()) };
        assert!(!found.is_null(), "SQLite has a file system on Unix");
        found.expose_provenance()
    });
    ptr::with_exposed_provenance_mut(*address)
}

/// # Safety
/// `file` is one that SQLite had us open.
unsafe fn real(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    // SAFETY: we asked for `szOsFile` bytes: ours, and the real file system's after them.
    unsafe { file.cast::<File>().add(1).cast() }
}

/// # Safety
/// `file` is one that SQLite had us open and has not closed; nobody else holds what is returned.
unsafe fn watched<'a>(file: *mut ffi::sqlite3_file) -> Option<&'a mut Watched> {
    // SAFETY: `open` set it to null or to a box, which `close` frees. SQLite uses a file from one thread at a time.
    unsafe { (*file.cast::<File>()).watched.as_mut() }
}

unsafe extern "C" fn open(
    _ours: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    flags_out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gave us memory for both parts of the file, and arguments that the real function takes.
    unsafe {
        let ours = file.cast::<File>();
        (*ours).base.pMethods = ptr::null();
        (*ours).watched = ptr::null_mut();
        let open = (*real_vfs()).xOpen.expect("every file system opens");
        let code = open(real_vfs(), name, real(file), flags, flags_out);
        // SQLite closes what has methods, even if opening failed.
        if !(*real(file)).pMethods.is_null() {
            (*ours).base.pMethods = &raw const METHODS;
        }
        if code == ffi::SQLITE_OK
            && let Some((recording, name)) = recording_of(name)
        {
            let watched = Watched {
                file: recording.opened(&name),
                recording,
                is_folder_sync_due: is_new_log(flags),
            };
            (*ours).watched = Box::into_raw(Box::new(watched));
        }
        code
    }
}

/// As SQLite decides it: a log or journal that is opened to be created.
fn is_new_log(flags: c_int) -> bool {
    let logs =
        ffi::SQLITE_OPEN_WAL | ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_SUPER_JOURNAL;
    flags & ffi::SQLITE_OPEN_CREATE != 0 && flags & logs != 0
}

unsafe extern "C" fn delete(
    _ours: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    is_folder_to_be_synced: c_int,
) -> c_int {
    // SAFETY: these are SQLite's arguments, which the real function takes.
    unsafe {
        let delete = (*real_vfs()).xDelete.expect("every file system deletes");
        let code = delete(real_vfs(), name, is_folder_to_be_synced);
        if code == ffi::SQLITE_OK
            && let Some((recording, name)) = recording_of(name)
        {
            recording.deleted(&name);
            if is_folder_to_be_synced != 0 {
                recording.note(Event::FolderSynced);
            }
        }
        code
    }
}

/// # Safety
/// `name` is null or ends in zero.
unsafe fn recording_of(name: *const c_char) -> Option<(Arc<Recording>, String)> {
    if name.is_null() {
        return None;
    }
    // SAFETY: as the caller promises.
    let name = unsafe { CStr::from_ptr(name) };
    recording::of(Path::new(name.to_str().ok()?))
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite closes a file once, and does not use it afterwards.
    unsafe {
        let watched = mem::replace(&mut (*file.cast::<File>()).watched, ptr::null_mut());
        if !watched.is_null() {
            drop(Box::from_raw(watched));
        }
        let close = (*(*real(file)).pMethods).xClose.expect("a file closes");
        close(real(file))
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    length: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite's file and arguments; `bytes` are `length` long.
    unsafe {
        let write = (*(*real(file)).pMethods).xWrite.expect("a file is written");
        let code = write(real(file), bytes, length, offset);
        if code == ffi::SQLITE_OK
            && let Some(watched) = watched(file)
        {
            let length = usize::try_from(length).expect("no length is below zero");
            watched.recording.note(Event::Written {
                file: watched.file,
                offset: usize::try_from(offset).expect("no place is below zero"),
                bytes: slice::from_raw_parts(bytes.cast::<u8>(), length).to_vec(),
            });
        }
        code
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: ffi::sqlite3_int64) -> c_int {
    // SAFETY: SQLite's file and argument.
    unsafe {
        let truncate = (*(*real(file)).pMethods).xTruncate.expect("a file is cut");
        let code = truncate(real(file), size);
        if code == ffi::SQLITE_OK
            && let Some(watched) = watched(file)
        {
            watched.recording.note(Event::Truncated {
                file: watched.file,
                size: usize::try_from(size).expect("no size is below zero"),
            });
        }
        code
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: SQLite's file and argument.
    unsafe {
        let sync = (*(*real(file)).pMethods).xSync.expect("a file is synced");
        let code = sync(real(file), flags);
        if code == ffi::SQLITE_OK
            && let Some(watched) = watched(file)
        {
            watched.recording.note(Event::Synced { file: watched.file });
            if mem::take(&mut watched.is_folder_sync_due) {
                watched.recording.note(Event::FolderSynced);
            }
        }
        code
    }
}

/// Methods that change nothing that a power cut could undo: locks and shared memory are gone with it, reading is harmless.
macro_rules! passed_on {
    ($($method:ident as $name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)?;)*) => {$(
        unsafe extern "C" fn $name(file: *mut ffi::sqlite3_file $(, $argument: $type)*) $(-> $result)? {
            // SAFETY: SQLite's file and arguments.
            unsafe {
                let method = (*(*real(file)).pMethods).$method.expect("the real file has it");
                method(real(file) $(, $argument)*)
            }
        }
    )*};
}

passed_on! {
    xRead as read(bytes: *mut c_void, length: c_int, offset: ffi::sqlite3_int64) -> c_int;
    xFileSize as file_size(size: *mut ffi::sqlite3_int64) -> c_int;
    xLock as lock(level: c_int) -> c_int;
    xUnlock as unlock(level: c_int) -> c_int;
    xCheckReservedLock as check_reserved_lock(is_reserved: *mut c_int) -> c_int;
    xFileControl as file_control(operation: c_int, argument: *mut c_void) -> c_int;
    xSectorSize as sector_size() -> c_int;
    xDeviceCharacteristics as device_characteristics() -> c_int;
    xShmMap as shm_map(region: c_int, size: c_int, is_extended: c_int, memory: *mut *mut c_void) -> c_int;
    xShmLock as shm_lock(offset: c_int, count: c_int, flags: c_int) -> c_int;
    xShmBarrier as shm_barrier();
    xShmUnmap as shm_unmap(is_deleted: c_int) -> c_int;
}

/// Version 2: with a log's shared memory, without files mapped into memory, whose writes we would not see.
static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};
