//! The few frames of HTTP/2 that a round sends and reads (RFC 9113).

use countersign_common::proto::workload::{JwtsvidRequest, JwtsvidResponse};
use countersign_tests::{DATA, HEADERS, PING, RST_STREAM, SETTINGS, frame, grpc_message, preface, request_headers};
use prost::Message;

const ACK: u8 = 0x1;
const END_STREAM: u8 = 0x1;

/// All bytes of a `FetchJWTSVID` call on `stream`; of the first, with those that open a connection.
pub(crate) fn request(stream: u32) -> Vec<u8> {
    let request = JwtsvidRequest { audience: vec!["billing".to_owned()], spiffe_id: String::new() };
    let opening = if stream == 1 { preface(&[(1, 0)]) } else { vec![] };
    let call = [request_headers(stream, "FetchJWTSVID", &[]), grpc_message(stream, &request.encode_to_vec())];
    [opening, call.concat()].concat()
}

/// What came from the agent, as far as it matters.
#[derive(Debug, PartialEq)]
pub(crate) enum Word {
    /// These bytes are to be sent back.
    AnswerWith(Vec<u8>),
    /// As that, and nothing else is said before: the agent has looked at the process.
    Countersign(Vec<u8>),
    /// The SVIDs of an answer: whose they are.
    Svids(Vec<String>),
    /// The call on the stream is over.
    End(u32),
}

/// Bytes to words.
#[derive(Debug, Default)]
pub(crate) struct Words {
    bytes: Vec<u8>,
}

impl Words {
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    /// The words that are complete.
    pub(crate) fn take(&mut self) -> Vec<Word> {
        let mut words = vec![];
        while let Some((header, rest)) = self.bytes.split_first_chunk::<9>() {
            let [a, b, c, kind, flags, stream @ ..] = *header;
            let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).expect("24 bits");
            let Some(payload) = rest.get(..length) else { break };
            words.extend(read(kind, flags, u32::from_be_bytes(stream), payload));
            self.bytes.drain(..9 + length);
        }
        words
    }
}

fn read(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<Word> {
    let end = || matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 || kind == RST_STREAM;
    let word = match kind {
        SETTINGS if flags & ACK == 0 => Some(Word::AnswerWith(frame(SETTINGS, ACK, 0, &[]))),
        PING if flags & ACK == 0 => Some(Word::Countersign(frame(PING, ACK, 0, payload))),
        // Answers are far shorter than a frame: each comes in one.
        DATA if !payload.is_empty() => Some(Word::Svids(owners(payload))),
        _ => None,
    };
    word.into_iter().chain(end().then_some(Word::End(stream))).collect()
}

/// Whose SVIDs are in a gRPC message: what the tokens themselves say.
fn owners(payload: &[u8]) -> Vec<String> {
    let message = payload.get(5..).expect("the five bytes before a gRPC message");
    let answer = JwtsvidResponse::decode(message).expect("an answer to FetchJWTSVID");
    let owner = |token: &str| {
        use base64::Engine;
        let claims = token.split('.').nth(1).expect("three parts");
        let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).expect("base64url");
        let claims: serde_json::Value = serde_json::from_slice(&claims).expect("claims");
        claims["sub"].as_str().expect("a subject").to_owned()
    };
    answer.svids.iter().map(|svid| owner(&svid.svid)).collect()
}
