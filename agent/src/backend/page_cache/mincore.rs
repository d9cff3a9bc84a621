//! Maps a file and asks Linux which of its pages are in memory. Mapping reads nothing.
#![expect(
    unsafe_code,
    reason = "mapping a file and mincore have no safe form; the mapping is never read through a reference"
)]

use std::{fs::File, io, os::fd::AsRawFd, ptr};

use super::Residency;

/// A part of a file in our address space, until dropped.
pub(super) struct Mapping {
    start: ptr::NonNull<libc::c_void>,
    bytes: usize,
}

/// Looks at a whole file, in pieces of bounded size.
pub(super) fn residency(file: &File) -> io::Result<Residency> {
    let bytes = file.metadata()?.len();
    let mut seen = Residency {
        pages: 0,
        resident: 0,
    };
    let mut offset = 0;
    while offset < bytes {
        let length = (bytes - offset).min(PIECE_BYTES);
        for is_resident in Mapping::new(file, offset, length)?.pages()? {
            seen.pages += 1;
            seen.resident += u64::from(is_resident);
        }
        offset += length;
    }
    Ok(seen)
}

impl Mapping {
    /// `offset` is a multiple of the page size, `length` is above 0.
    fn new(file: &File, offset: u64, length: u64) -> io::Result<Self> {
        let bytes = usize::try_from(length).map_err(io::Error::other)?;
        let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours, and what the file's bytes are or
        // become does not matter, because they are not read.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                bytes,
                libc::PROT_READ,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                offset,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = ptr::NonNull::new(start).ok_or_else(|| io::Error::other("mapped at 0"))?;
        Ok(Self { start, bytes })
    }

    /// Whether each page is in memory.
    fn pages(&self) -> io::Result<Vec<bool>> {
        let mut pages = vec![0_u8; self.bytes.div_ceil(rustix::param::page_size())];
        // SAFETY: start and length are those of a mapping that lives as long as `self`, and the vector has a byte for each of
        // its pages.
        let code =
            unsafe { libc::mincore(self.start.as_ptr(), self.bytes, pages.as_mut_ptr().cast()) };
        match code {
            0 => Ok(pages.into_iter().map(|page| page & 1 == 1).collect()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and nobody uses it any more.
        unsafe { libc::munmap(self.start.as_ptr(), self.bytes) };
    }
}

/// A multiple of every page size; its pages take a quarter of a megabyte to list.
const PIECE_BYTES: u64 = 1 << 30;

#[cfg(test)]
impl Mapping {
    pub(super) fn of_whole(file: &File) -> io::Result<Self> {
        Self::new(file, 0, file.metadata()?.len())
    }

    /// Has the pages mapped in this process, as a server has that runs.
    pub(super) fn touch(&self) {
        for offset in (0..self.bytes).step_by(rustix::param::page_size()) {
            // SAFETY: inside the mapping, whose file is a test's own and does not change.
            unsafe { ptr::read_volatile(self.start.as_ptr().cast::<u8>().add(offset)) };
        }
    }
}
