//! Protobuf messages on a gRPC stream, in buffers of their own length.
//!
//! The stock codec takes 8 KiB for each call, and a stream keeps them for as long as it is open; most messages here are
//! shorter than two.

use std::marker::PhantomData;

use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, EncodeBuf, Encoder};
use tonic_prost::{ProstCodec, ProstDecoder};

/// What is taken at first to read a message, in bytes; the length of a longer one is known before it is read.
const READ_BYTES: usize = 1024;

/// What stands before each message: whether it is compressed, and its length.
const HEADER_BYTES: usize = 5;

/// Buffers are as long as multiples of this.
const STEP_BYTES: usize = 128;

/// How much of what is ready to be sent goes out at once at most: tonic's own choice, in bytes.
const SENT_BYTES: usize = 32 * 1024;

/// The codec of all services: what the generated code of each calls for.
#[derive(Debug)]
pub(crate) struct Fitting<T, U>(PhantomData<(T, U)>);

/// Writes messages of one type.
#[derive(Debug)]
pub(crate) struct FittingEncoder<T>(PhantomData<T>);

impl<T, U> Default for Fitting<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for Fitting<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = FittingEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        FittingEncoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, U>::raw_decoder(BufferSettings::new(READ_BYTES, SENT_BYTES))
    }
}

impl<T: Message> Encoder for FittingEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        // The next message may be some bytes longer, and growing takes twice as much.
        buf.reserve(item.encoded_len().next_multiple_of(STEP_BYTES));
        item.encode(buf).map_err(|error| Status::internal(error.to_string()))
    }

    /// Next to nothing is taken before there is a message.
    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(HEADER_BYTES, SENT_BYTES)
    }
}
