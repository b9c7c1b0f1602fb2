//! PHP's built-in server with the oracle, and nginx in front of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::generate::Case;

pub struct Oracle {
    address: String,
    php: Child,
    nginx: Option<(Child, TempDir)>,
}

impl Oracle {
    /// `None` if there is no PHP.
    pub fn start() -> Option<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/portal.php");
        let mut php = Command::new("php")
            .args([
                "-d",
                "max_input_vars=1000",
                "-d",
                "display_errors=0",
                "-S",
                "127.0.0.1:0",
            ])
            .arg(script)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .ok()?;
        let mut log = BufReader::new(php.stderr.take()?);
        let mut line = String::new();
        log.read_line(&mut line).ok()?;
        let (_, rest) = line.split_once("http://")?;
        let address = rest.split(')').next()?.to_owned();
        // Whoever does not read the log in time stops the server.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        let nginx = nginx(&address);
        Some(Self {
            address,
            php,
            nginx,
        })
    }

    /// What PHP reads of a request; `Null` if it did not get there.
    pub fn ask(&mut self, case: &Case) -> Value {
        let mut request = format!(
            "{} {} HTTP/1.1\r\nhost: portal\r\nconnection: close\r\n",
            case.verb, case.target
        );
        for (name, value) in &case.headers {
            request += &format!("{name}: {value}\r\n");
        }
        if !case.body.is_empty() {
            request += &format!("content-length: {}\r\n", case.body.len());
        }
        let bytes = [request.as_bytes(), b"\r\n", &case.body].concat();
        let mut answer = Vec::new();
        match &self.nginx {
            Some((_, dir)) => {
                let mut stream = UnixStream::connect(dir.path().join("portal.sock")).unwrap();
                let _ = stream.write_all(&bytes);
                stream.read_to_end(&mut answer).unwrap();
            }
            None => {
                let mut stream = TcpStream::connect(&self.address).unwrap();
                let _ = stream.write_all(&bytes);
                stream.read_to_end(&mut answer).unwrap();
            }
        }
        if answer.is_empty() && self.nginx.is_none() {
            // PHP's own server hangs up on what is no HTTP, where nginx says 400.
            return Value::Null;
        }
        let text = String::from_utf8_lossy(&answer);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        if !head.contains(" 200 ") {
            assert!(
                head.contains(" 400 "),
                "the oracle itself fails: {text} for {case:?}"
            );
            return Value::Null;
        }
        let json = &body[body.find('{').expect("JSON")..=body.rfind('}').expect("JSON")];
        serde_json::from_str(json).unwrap_or_else(|_| panic!("no JSON of PHP: {text} for {case:?}"))
    }
}

/// nginx in front, on a socket of its own, where nginx is installed.
fn nginx(php: &str) -> Option<(Child, TempDir)> {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().display();
    let text = format!(
        "daemon off; pid {at}/pid; error_log {at}/error.log;\nevents {{ worker_connections 64; }}\nhttp {{\n\
         access_log off; client_body_temp_path {at}/body; proxy_temp_path {at}/proxy; fastcgi_temp_path {at}/f;\n\
         uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
         server {{ listen unix:{at}/portal.sock; location / {{ proxy_pass http://{php}; }} }}\n}}\n"
    );
    std::fs::write(dir.path().join("nginx.conf"), text).unwrap();
    let child = Command::new("nginx")
        .arg("-c")
        .arg(dir.path().join("nginx.conf"))
        .args(["-p"])
        .arg(dir.path())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let socket = dir.path().join("portal.sock");
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while UnixStream::connect(&socket).is_err() {
        assert!(std::time::Instant::now() < until, "nginx does not start");
        std::thread::yield_now();
    }
    Some((child, dir))
}

impl Drop for Oracle {
    fn drop(&mut self) {
        let _ = self.php.kill();
        let _ = self.php.wait();
        if let Some((nginx, dir)) = &mut self.nginx {
            // The master ends its worker; killed outright it would leave it behind.
            let pid = std::fs::read_to_string(dir.path().join("pid")).unwrap_or_default();
            if let Ok(pid) = pid.trim().parse().map(rustix::process::Pid::from_raw) {
                let _ = pid
                    .map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::TERM));
            }
            let _ = nginx.wait();
        }
    }
}
