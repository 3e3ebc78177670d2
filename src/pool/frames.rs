//! Frames: a length (four bytes, big endian), then that many bytes of postcard.
//!
//! The parent's side is asynchronous and trusts nothing; the child's side blocks, because a child does one thing
//! at a time. Both refuse a frame over [`MAX_FRAME_BYTES`] before a byte of it is stored.

use std::io::{self, Read, Write};

use futures_util::{SinkExt, StreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio_util::bytes::Bytes;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use crate::pool::protocol::MAX_FRAME_BYTES;

const LENGTH_BYTES: usize = 4;

/// Why a frame could not be sent or understood.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("transfer a frame")]
    Transfer(#[source] io::Error),
    #[error("a frame of {0} bytes is over the limit of {MAX_FRAME_BYTES}")]
    TooLong(usize),
    #[error("a frame of {length} bytes is not a message")]
    Nonsense {
        length: usize,
        #[source]
        source: postcard::Error,
    },
    #[error("encode a frame")]
    Encode(#[source] postcard::Error),
}

impl FrameError {
    /// The other end is gone (perhaps in the middle of a frame), as opposed to talking nonsense.
    pub fn is_disconnect(&self) -> bool {
        // The codec calls a length over the limit invalid data.
        matches!(self, FrameError::Transfer(error) if error.kind() != io::ErrorKind::InvalidData)
    }
}

/// The parent's end of the socket to one child.
pub struct FrameStream {
    framed: Framed<UnixStream, LengthDelimitedCodec>,
}

impl FrameStream {
    pub fn new(socket: UnixStream) -> Self {
        let codec = LengthDelimitedCodec::builder()
            .big_endian()
            .length_field_length(LENGTH_BYTES)
            .max_frame_length(MAX_FRAME_BYTES)
            .new_codec();
        Self { framed: Framed::new(socket, codec) }
    }

    pub async fn send<T: Serialize>(&mut self, message: &T) -> Result<(), FrameError> {
        let payload = encode(message)?;
        self.framed.send(Bytes::from(payload)).await.map_err(FrameError::Transfer)
    }

    /// Tells the child that no request will follow; what it still says can be received.
    pub async fn close(&mut self) {
        // A child that is gone already cannot be told, and need not be.
        let _ = self.framed.get_mut().shutdown().await;
    }

    /// The next message; `None` when the child closed its end. Safe to drop and call again: a frame half
    /// received stays in the buffer.
    pub async fn receive<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        match self.framed.next().await {
            None => Ok(None),
            Some(Ok(payload)) => decode(&payload).map(Some),
            Some(Err(error)) => Err(FrameError::Transfer(error)),
        }
    }
}

/// Sends one message, in the child.
pub fn write_blocking<T: Serialize>(stream: &mut impl Write, message: &T) -> Result<(), FrameError> {
    let payload = encode(message)?;
    let length = u32::try_from(payload.len()).map_err(|_| FrameError::TooLong(payload.len()))?;
    // In one write, so that the other end wakes up once.
    let frame = [length.to_be_bytes().as_slice(), &payload].concat();
    stream.write_all(&frame).map_err(FrameError::Transfer)?;
    stream.flush().map_err(FrameError::Transfer)
}

/// Reads one message, in the child; `None` when the parent closed its end between two frames.
pub fn read_blocking<T: DeserializeOwned>(stream: &mut impl Read) -> Result<Option<T>, FrameError> {
    let mut length_field = [0_u8; LENGTH_BYTES];
    let first_read = read_some(stream, &mut length_field)?;
    if first_read == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut length_field[first_read..]).map_err(FrameError::Transfer)?;
    let length = u32::from_be_bytes(length_field) as usize;
    if length > MAX_FRAME_BYTES {
        return Err(FrameError::TooLong(length));
    }
    let mut payload = vec![0_u8; length];
    stream.read_exact(&mut payload).map_err(FrameError::Transfer)?;
    decode(&payload).map(Some)
}

fn read_some(stream: &mut impl Read, buffer: &mut [u8]) -> Result<usize, FrameError> {
    loop {
        match stream.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result.map_err(FrameError::Transfer),
        }
    }
}

fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let payload = postcard::to_stdvec(message).map_err(FrameError::Encode)?;
    if payload.len() > MAX_FRAME_BYTES {
        return Err(FrameError::TooLong(payload.len()));
    }
    Ok(payload)
}

/// Bytes that are left over after the message make the frame nonsense as well.
fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, FrameError> {
    let nonsense = |source| FrameError::Nonsense { length: payload.len(), source };
    let (message, rest) = postcard::take_from_bytes(payload).map_err(nonsense)?;
    if !rest.is_empty() {
        return Err(nonsense(postcard::Error::DeserializeBadEncoding));
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::MetadataValue;
    use crate::pool::protocol::{Opened, Reply, Request};

    async fn stream_with(bytes: &[u8]) -> FrameStream {
        let (parent, child) = UnixStream::pair().unwrap();
        let mut child = child.into_std().unwrap();
        child.set_nonblocking(false).unwrap();
        let bytes = bytes.to_vec();
        std::thread::spawn(move || child.write_all(&bytes).unwrap()).join().unwrap();
        FrameStream::new(parent)
    }

    #[tokio::test]
    async fn a_message_written_blocking_arrives_asynchronously_and_back() {
        let (parent, child) = UnixStream::pair().unwrap();
        let mut child = child.into_std().unwrap();
        child.set_nonblocking(false).unwrap();
        let mut frames = FrameStream::new(parent);
        write_blocking(&mut child, &Reply::NeedsOcr { page: 7 }).unwrap();
        assert_eq!(frames.receive::<Reply>().await.unwrap(), Some(Reply::NeedsOcr { page: 7 }));
        frames.send(&Request::Close).await.unwrap();
        assert_eq!(read_blocking::<Request>(&mut child).unwrap(), Some(Request::Close));
        drop(frames);
        assert_eq!(read_blocking::<Request>(&mut child).unwrap(), None);
    }

    #[test]
    fn everything_that_a_document_says_survives_a_frame() {
        let metadata = [
            ("title".to_string(), MetadataValue::Text("道路台帳".into())),
            ("dpi".to_string(), MetadataValue::Number(300.0)),
        ];
        let reply = Reply::Opened(Opened {
            mime_type: "application/pdf".into(),
            page_count: 3,
            paginated: true,
            has_text_layer: true,
            metadata: metadata.into(),
        });
        let mut frame = Vec::new();
        write_blocking(&mut frame, &reply).unwrap();
        assert_eq!(read_blocking::<Reply>(&mut frame.as_slice()).unwrap(), Some(reply));
    }

    #[tokio::test]
    async fn an_oversized_header_is_refused_before_its_bytes_are_there() {
        let mut frames = stream_with(&u32::MAX.to_be_bytes()).await;
        assert!(matches!(frames.receive::<Reply>().await, Err(FrameError::Transfer(_))));
        let mut header: &[u8] = &u32::MAX.to_be_bytes();
        assert!(matches!(read_blocking::<Request>(&mut header), Err(FrameError::TooLong(_))));
    }

    #[tokio::test]
    async fn bytes_that_are_no_message_are_nonsense() {
        let mut frames = stream_with(&[0, 0, 0, 3, 0xff, 0xff, 0xff]).await;
        assert!(matches!(frames.receive::<Reply>().await, Err(FrameError::Nonsense { length: 3, .. })));
    }

    #[test]
    fn trailing_bytes_make_a_frame_nonsense() {
        let mut payload = encode(&Reply::Done).unwrap();
        payload.push(0);
        assert!(matches!(decode::<Reply>(&payload), Err(FrameError::Nonsense { .. })));
    }

    #[test]
    fn a_frame_cut_short_is_an_error_and_not_an_end() {
        let mut half: &[u8] = &[0, 0, 0];
        assert!(matches!(read_blocking::<Request>(&mut half), Err(FrameError::Transfer(_))));
    }

    #[test]
    fn a_message_over_the_limit_is_not_sent() {
        let message = Reply::NotReady("x".repeat(MAX_FRAME_BYTES));
        let mut sink = Vec::new();
        assert!(matches!(write_blocking(&mut sink, &message), Err(FrameError::TooLong(_))));
        assert!(sink.is_empty());
    }
}
