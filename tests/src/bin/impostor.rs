//! Poses as a Docker daemon: `impostor SOCKET ANSWER` listens at SOCKET, says so, and answers every
//! request for a container with ANSWER, a JSON document in which `ID` stands for the id asked for.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, socket, answer] = arguments.as_slice() else { panic!("impostor SOCKET ANSWER") };
    let listener = UnixListener::bind(socket).expect("a free name");
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o666)).expect("our socket");
    println!("listening");
    for stream in listener.incoming() {
        // Whoever hangs up has heard enough.
        let _ = converse(&stream.expect("a connection"), answer);
    }
}

fn converse(stream: &UnixStream, answer: &str) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    while let Some(request) = lines.next() {
        let request = request?;
        while lines.next().transpose()?.is_some_and(|header| !header.is_empty()) {}
        let id = request.split('/').skip_while(|part| *part != "containers").nth(1).unwrap_or_default();
        let body = answer.replace("ID", id);
        let head = format!("HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Length: {}\r\n\r\n", body.len());
        let mut stream = stream;
        stream.write_all((head + &body).as_bytes())?;
    }
    Ok(())
}
