//! One header block of a client, from HEADERS to END_HEADERS, held back until it is complete.
//!
//! Padding, priority and the headers of the frames are kept beside the block itself, so that
//! everything can go on exactly as it came but for the authority.

use std::ops::Range;

use super::authority;
use super::frames::{FRAME_HEADER, FrameError, FrameHeader};
use crate::weakened::Protection;

/// Most bytes held back for one header block, frame headers and padding included.
pub(super) const MAX_BLOCK: usize = 64 * 1024;
/// Most frames that one header block may be split over.
pub(super) const MAX_BLOCK_FRAMES: usize = 8;

const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// A header block under way: HEADERS and its CONTINUATIONs, as they came.
pub(super) struct HeaderBlock {
    stream: u32,
    bytes: Vec<u8>,
    /// Where in `bytes` the payload of the frame under way begins, and that frame's flags.
    payload: usize,
    flags: u8,
    /// Which parts of `bytes` are the header block itself.
    fragments: Vec<Range<usize>>,
    complete: bool,
}

impl HeaderBlock {
    /// With the header of its HEADERS frame.
    pub(super) fn begin(frame: FrameHeader, header: &[u8]) -> Result<Self, FrameError> {
        let mut block = Self {
            stream: frame.stream,
            bytes: Vec::with_capacity(FRAME_HEADER + frame.length),
            payload: 0,
            flags: 0,
            fragments: Vec::with_capacity(1),
            complete: false,
        };
        block.goes_on(frame, header)?;
        Ok(block)
    }

    /// With the header of a further frame, once the payload of the one before is in.
    pub(super) fn goes_on(&mut self, frame: FrameHeader, header: &[u8]) -> Result<(), FrameError> {
        let length = self.bytes.len() + header.len() + frame.length;
        let is_too_long = length > MAX_BLOCK || self.fragments.len() == MAX_BLOCK_FRAMES;
        if is_too_long && !Protection::FrameLimits.is_out() {
            return Err(FrameError::BlockTooLong);
        }
        self.bytes.extend_from_slice(header);
        self.payload = self.bytes.len();
        self.flags = frame.flags;
        Ok(())
    }

    /// Says that the payload of the frame under way is in.
    /// RFC 9113, sections 6.2 and 6.10: only the first frame has padding and priority.
    pub(super) fn frame_ends(&mut self) -> Result<(), FrameError> {
        let mut fragment = self.payload..self.bytes.len();
        if self.fragments.is_empty() {
            if self.flags & PADDED != 0 {
                let padding = *self.bytes.get(fragment.start).ok_or(FrameError::Padding)?;
                fragment.start += 1;
                fragment.end = fragment.end.saturating_sub(usize::from(padding));
            }
            if self.flags & PRIORITY != 0 {
                fragment.start += 5;
            }
            if fragment.start > fragment.end {
                return Err(FrameError::Padding);
            }
        }
        self.fragments.push(fragment);
        self.complete = self.flags & END_HEADERS != 0;
        Ok(())
    }

    /// Takes payload of the frame under way.
    pub(super) fn push(&mut self, payload: &[u8]) {
        self.bytes.extend_from_slice(payload);
    }

    pub(super) fn stream(&self) -> u32 {
        self.stream
    }

    /// Whether the last frame said END_HEADERS.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    pub(super) fn as_it_came(&self) -> &[u8] {
        &self.bytes
    }

    /// The frames as they came, with a plain authority.
    pub(super) fn plain(mut self) -> Vec<u8> {
        let mut block: Vec<u8> =
            self.fragments.iter().filter_map(|part| self.bytes.get(part.clone())).flatten().copied().collect();
        authority::make_plain(&mut block);
        let mut rest = block.as_slice();
        for part in self.fragments {
            let Some(target) = self.bytes.get_mut(part) else { continue };
            let Some((plain, after)) = rest.split_at_checked(target.len()) else { continue };
            target.copy_from_slice(plain);
            rest = after;
        }
        self.bytes
    }
}
